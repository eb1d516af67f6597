// SPDX-License-Identifier: BSD-2-Clause
// Files on the volume the loader itself was started from (UEFI 2.10 sections 9.1 and 13.4, 13.5).
#include "boot/file.h"
#include "boot/allocation.h"
#include "boot/console.h"

static const char *status_words(EFI_STATUS status) {
    switch (status) {
    case EFI_NOT_FOUND:
        return "no such file";
    case EFI_NO_MEDIA:
    case EFI_MEDIA_CHANGED:
        return "the medium was removed or changed";
    case EFI_DEVICE_ERROR:
        return "the device reported an error";
    case EFI_VOLUME_CORRUPTED:
        return "the file system is damaged";
    case EFI_ACCESS_DENIED:
        return "access denied";
    case EFI_OUT_OF_RESOURCES:
        return "firmware is out of memory";
    default:
        return "firmware cannot read it";
    }
}

static EFI_STATUS refuse(const struct file_content *file, EFI_STATUS status) {
    console_print("Ashlar loader: %s: %s (EFI status %lx)\n", file->name, status_words(status),
                  (unsigned long)(status & ~EFI_ERROR_MASK));
    return status;
}

static EFI_STATUS open_root(EFI_HANDLE image, EFI_BOOT_SERVICES *services, EFI_FILE_HANDLE *root) {
    static EFI_GUID loaded_image_guid = EFI_LOADED_IMAGE_PROTOCOL_GUID;
    static EFI_GUID file_system_guid = EFI_SIMPLE_FILE_SYSTEM_PROTOCOL_GUID;
    EFI_LOADED_IMAGE *loaded;
    EFI_FILE_IO_INTERFACE *volume;
    EFI_STATUS status = services->HandleProtocol(image, &loaded_image_guid, (void **)&loaded);
    if (EFI_ERROR(status))
        return status;
    status = services->HandleProtocol(loaded->DeviceHandle, &file_system_guid, (void **)&volume);
    if (EFI_ERROR(status))
        return status;
    return volume->OpenVolume(volume, root);
}

static EFI_STATUS file_size(EFI_FILE_HANDLE handle, uint64_t *size) {
    static EFI_GUID info_guid = EFI_FILE_INFO_ID;
    union {
        EFI_FILE_INFO info;
        uint8_t bytes[SIZE_OF_EFI_FILE_INFO + 256 * sizeof(CHAR16)];
    } buffer;
    UINTN length = sizeof(buffer);
    EFI_STATUS status = handle->GetInfo(handle, &info_guid, &length, &buffer);
    if (EFI_ERROR(status))
        return status;
    if (buffer.info.Attribute & EFI_FILE_DIRECTORY)
        return EFI_NOT_FOUND;
    *size = buffer.info.FileSize;
    return EFI_SUCCESS;
}

// Some firmware reads less than asked for at a time.
static EFI_STATUS read_all(EFI_FILE_HANDLE handle, uint8_t *data, uint64_t size) {
    for (uint64_t done = 0; done < size;) {
        UINTN length = size - done;
        EFI_STATUS status = handle->Read(handle, &length, data + done);
        if (EFI_ERROR(status))
            return status;
        if (length == 0)
            return EFI_VOLUME_CORRUPTED;
        done += length;
    }
    return EFI_SUCCESS;
}

static EFI_STATUS read_open(EFI_BOOT_SERVICES *services, EFI_FILE_HANDLE handle,
                            struct file_content *file, enum boot_memory_type type) {
    EFI_STATUS status = file_size(handle, &file->size);
    if (EFI_ERROR(status))
        return refuse(file, status);
    // An empty file still gets a page, so that data is never NULL.
    file->data = allocation_take(services, file->size + 1, EFI_PAGE_SIZE, 0, type);
    if (!file->data) {
        console_print("Ashlar loader: %s: too little memory: no %lu KiB in one piece\n", file->name,
                      (unsigned long)(file->size / 1024 + 1));
        return EFI_OUT_OF_RESOURCES;
    }
    status = read_all(handle, file->data, file->size);
    return EFI_ERROR(status) ? refuse(file, status) : EFI_SUCCESS;
}

EFI_STATUS file_read(EFI_HANDLE image, EFI_SYSTEM_TABLE *system_table, struct file_content *file,
                     enum boot_memory_type type) {
    EFI_FILE_HANDLE root, handle;
    EFI_STATUS status = open_root(image, system_table->BootServices, &root);
    if (EFI_ERROR(status))
        return refuse(file, status);
    status = root->Open(root, &handle, (CHAR16 *)file->path, EFI_FILE_MODE_READ, 0);
    if (EFI_ERROR(status)) {
        root->Close(root);
        return refuse(file, status);
    }
    status = read_open(system_table->BootServices, handle, file, type);
    handle->Close(handle);
    root->Close(root);
    return status;
}
