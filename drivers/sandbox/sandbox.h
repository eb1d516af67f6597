// SPDX-License-Identifier: BSD-2-Clause
// A program names the paths it will use and can from then on reach no others (landlock(7)); so
// what takes it over cannot either.
#pragma once

enum sandbox_right {
    SANDBOX_READ = 1,  // files, and directories' names
    SANDBOX_WRITE = 2, // files; on Ashlar also: connect to a socket
    SANDBOX_MAKE = 4,  // files and sockets below a directory: make and remove them
};

struct sandbox {
    int ruleset;
    const char *failed; // the path that could not be named; NULL: none
    int error;          // its errno, or why there is no sandbox
};

// Starts to collect what may be used.
void sandbox_open(struct sandbox *sandbox);

// The path itself, or what is below it if it is a directory. rights: enum sandbox_right.
void sandbox_allow(struct sandbox *sandbox, const char *path, unsigned rights);

// The same for the directory that holds the path: it may be made again.
void sandbox_allow_place(struct sandbox *sandbox, const char *path, unsigned rights);

// From here the calling thread, and those it makes, use nothing else. 0, or -errno of the first
// thing that went wrong, with sandbox->failed; nothing has changed then.
int sandbox_enter(struct sandbox *sandbox);
