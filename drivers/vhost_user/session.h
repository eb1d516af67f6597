// SPDX-License-Identifier: BSD-2-Clause
// One front end's connection to a device served here. Each session has a thread of its own, which
// alone touches it: a front end that stalls or lies harms its own session only.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "drivers/vhost_user/inflight.h"
#include "drivers/vhost_user/inflight_packed.h"
#include "drivers/vhost_user/message.h"
#include "drivers/virtio/virtqueue.h"

#define VHOST_USER_QUEUES_MAX 16
#define VHOST_USER_MEM_SLOTS  32

struct vhost_user_session;

// A kind of device.
struct vhost_user_device {
    const char *name;
    uint64_t features; // of the device; the transport's are added
    unsigned queues;
    void *device; // whose sessions these are
    // Fills in the configuration space, of VHOST_USER_CONFIG_MAX bytes, zeros so far.
    void (*read_config)(void *device, void *config);
    // A session begins: what serve is given, NULL where there is no memory for it; and ends. No
    // request is under way any more when close returns.
    void *(*open)(struct vhost_user_session *session, void *device);
    void (*close)(void *state);
    // Serves a buffer of a queue. It is given back by vhost_user_complete, now or later; -errno for
    // one that is malformed, -EAGAIN where it cannot be served before others are given back, or
    // memory is.
    int (*serve)(void *state, unsigned queue, const struct virtqueue_buffer *buffer);
    // NULL, or whether the device itself takes buffers from this queue, when it has something to
    // put into them; then it is told so of new ones, too.
    bool (*fill)(void *state, unsigned queue);
    // Waits until all requests of a queue are given back. NULL: none outlives serve.
    void (*drain)(void *state, unsigned queue);
    // NULL, or gives back what is done by now; whether there was something. Called while there is
    // work anyway.
    bool (*poll)(void *state);
    // NULL, or the device's: the session's memory in which requests lie, granted and taken away.
    int (*map)(void *device, void *memory, size_t size);
    void (*unmap)(void *device, void *memory, size_t size);
    // What poll is to watch besides, -1: nothing; and what to do when it is readable.
    int (*extra_fd)(void *state);
    void (*extra)(void *state);
};

struct vhost_user_queue {
    struct virtqueue ring;
    struct virtqueue_addresses addresses; // guest-physical
    uint16_t size;
    uint32_t base;
    int kick, call, error;
    bool has_addresses, started, enabled;
    bool busy; // there is more to serve
    // The record: one of them, for a ring of that kind; both NULL: there is none.
    struct vhost_user_inflight_ring *inflight;
    struct inflight_packed_ring *packed;
    uint64_t next_number; // of the record
    // Requests that a back end before this one had taken, to be served again before others.
    unsigned replay_count, replay_next;
    uint16_t replay[VIRTQUEUE_SIZE_MAX];
};

struct vhost_user_session {
    const struct vhost_user_device *device;
    void *state;
    int socket;
    uint64_t features, protocol_features;
    struct guest_memory_map memory;
    struct {
        uint64_t user_address; // the front end's
        void *mapping;
        size_t mapping_size;
        bool mapped; // by the device, too
    } mappings[VHOST_USER_MEM_SLOTS];
    bool memory_lost;      // the front end took away what it had shared
    bool waits_for_memory; // of ours
    void *inflight;
    size_t inflight_size;
    uint16_t inflight_queues, inflight_queue_size;
    struct vhost_user_queue queues[VHOST_USER_QUEUES_MAX];
    struct virtqueue_buffer buffer;                     // the one being served
    struct vring_packed_desc chain[VIRTQUEUE_SIZE_MAX]; // its descriptors
};

// Serves a connected front end until it goes or breaks the protocol; closes the socket.
void vhost_user_session_run(const struct vhost_user_device *device, int socket);

static inline bool vhost_user_queue_is_served(const struct vhost_user_session *session,
                                              unsigned queue) {
    return session->queues[queue].started && session->queues[queue].enabled;
}

// For a device that fills queues: interrupts the driver where it wants that, and ends the service
// to a malformed queue. On the session's thread only.
void vhost_user_signal(struct vhost_user_session *session, unsigned queue);
void vhost_user_break(struct vhost_user_session *session, unsigned queue);

// Gives a buffer back with the bytes written into it. On the session's thread only.
void vhost_user_complete(struct vhost_user_session *session, unsigned queue,
                         const struct virtqueue_buffer *buffer, uint32_t written);
