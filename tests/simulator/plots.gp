# SPDX-License-Identifier: BSD-2-Clause
# docs/scheduler.png from the simulator's rows: gnuplot -e 'rows="DIRECTORY"; out="FILE"' plots.gp
set terminal pngcairo size 1200,800 font "Sans,11"
set output out
set multiplot layout 2,2
set grid
set key top left

set title "Cost of a decision on one CPU"
set xlabel "threads in the queue"
set ylabel "nodes looked at"
set logscale x
set yrange [0:*]
plot rows."/queue.rows" using 1:2 with linespoints title "measured", \
    log(x)/log(2)*4 with lines dashtype 2 title "4 log2 n"

set title "The same with 97 threads a CPU, half of them sleeping and waking"
set xlabel "CPUs"
set ylabel "nodes and CPUs looked at"
plot rows."/machine.rows" using 1:2 with linespoints notitle
unset logscale x

set title "Three threads on two CPUs: how far each is from two thirds"
set xlabel "ms"
set ylabel "ms of CPU time"
set yrange [-8:8]
plot for [i=2:4] rows."/three.rows" using 1:i with lines title sprintf("thread %d", i-1)

set title "A thread that wakes 100 times a second for 200 us, on two CPUs"
set xlabel "hogs beside it"
set ylabel "ms until it runs"
set logscale x 2
set yrange [0:*]
plot rows."/latency.rows" using 1:2 with linespoints title "longest of 20 s", \
    rows."/latency.rows" using 1:3 with linespoints title "mean"
unset multiplot
