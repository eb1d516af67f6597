// SPDX-License-Identifier: BSD-2-Clause
// epoll(7).
#pragma once
#include "core/file/file.h"

// Called when the last reference of a watched file is gone, before its release: takes it out of
// every epoll.
void epoll_file_released(struct file *file);
