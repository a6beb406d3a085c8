/*
 * image.c - opens ELF files, and finds the separate one that has an object's debug information. Runs in the worker.
 *
 * Where distributions put those: DEBUG/.build-id/ab/cdef.debug, and for .gnu_debuglink the object's folder, its .debug, and
 * DEBUG with the object's folder behind it (GDB manual, "Separate Debug Files"). What dwz has moved to a file of several
 * objects (.gnu_debugaltlink) libdw finds itself.
 */
#include "object.h"
#include "symbol_table.h"

#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

enum { PAGE_BYTES = 4096 };

/* The first NT_GNU_BUILD_ID among the notes. */
static bool read_notes(hl_image *image, Elf_Data *notes)
{
    GElf_Nhdr note;
    size_t name, content;
    for (size_t at = 0, next; notes && (next = gelf_getnote(notes, at, &note, &name, &content)) > 0; at = next) {
        const unsigned char *id = (const unsigned char *)notes->d_buf + content;
        if (note.n_type != NT_GNU_BUILD_ID || note.n_namesz != 4 || note.n_descsz > HL_BUILD_ID_MOST ||
            memcmp((const char *)notes->d_buf + name, "GNU", 4) != 0)
            continue;
        for (size_t i = 0; i < note.n_descsz; i++)
            snprintf(image->build_id + 2 * i, 3, "%02x", id[i]);
        return true;
    }
    return false;
}

/* From sections, which separate debug files have too; from segments where there are no sections. */
static void read_build_id(hl_image *image)
{
    size_t headers = 0;
    for (Elf_Scn *section = NULL; (section = elf_nextscn(image->elf, section)) != NULL;) {
        GElf_Shdr header;
        if (gelf_getshdr(section, &header) && header.sh_type == SHT_NOTE &&
            read_notes(image, elf_getdata(section, NULL)))
            return;
    }
    for (size_t i = 0; elf_getphdrnum(image->elf, &headers) == 0 && i < headers; i++) {
        GElf_Phdr header;
        if (gelf_getphdr(image->elf, (int)i, &header) && header.p_type == PT_NOTE &&
            read_notes(image, elf_getdata_rawchunk(image->elf, (int64_t)header.p_offset, header.p_filesz, ELF_T_NHDR)))
            return;
    }
}

static bool read_base(hl_image *image)
{
    size_t headers;
    bool is_found = false;
    if (elf_getphdrnum(image->elf, &headers))
        return false;
    for (size_t i = 0; i < headers; i++) {
        GElf_Phdr header;
        if (!gelf_getphdr(image->elf, (int)i, &header))
            break;
        uint64_t page = header.p_vaddr & ~(uint64_t)(PAGE_BYTES - 1);
        if (header.p_type == PT_LOAD && (!is_found || page < image->base)) {
            image->base = page;
            is_found = true;
        }
    }
    return is_found;
}

int hl_image_open(hl_image *image, const char *path)
{
    struct stat st;
    *image = (hl_image){.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)};
    if (image->fd < 0)
        return -errno;
    snprintf(image->path, sizeof image->path, "%s", path);
    if (fstat(image->fd, &st) == 0 && S_ISREG(st.st_mode) && elf_version(EV_CURRENT) != EV_NONE)
        image->elf = elf_begin(image->fd, ELF_C_READ_MMAP, NULL);
    if (!image->elf || elf_kind(image->elf) != ELF_K_ELF || !read_base(image)) {
        hl_image_close(image);
        return -ENOEXEC;
    }
    image->device = st.st_dev;
    image->inode = st.st_ino;
    image->changed_s = st.st_ctim.tv_sec;
    read_build_id(image);
    return 0;
}

void hl_image_close(hl_image *image)
{
    if (image->elf)
        elf_end(image->elf);
    if (image->elf || image->fd > 0)
        close(image->fd);
    image->elf = NULL;
    image->fd = -1;
}

/* The section of either name whose contents are in the file, or null. */
static Elf_Scn *find_section(const hl_image *image, const char *name, const char *other_name)
{
    size_t names;
    if (elf_getshdrstrndx(image->elf, &names))
        return NULL;
    for (Elf_Scn *section = NULL; (section = elf_nextscn(image->elf, section)) != NULL;) {
        GElf_Shdr header;
        if (!gelf_getshdr(section, &header) || header.sh_type == SHT_NOBITS || !header.sh_size)
            continue;
        const char *found = elf_strptr(image->elf, names, header.sh_name);
        if (found && (strcmp(found, name) == 0 || strcmp(found, other_name) == 0))
            return section;
    }
    return NULL;
}

bool hl_image_has_dwarf(const hl_image *image) { return find_section(image, ".debug_info", ".zdebug_info") != NULL; }

/* .gnu_debuglink: a file's name, its final zero, bytes up to a multiple of four, its CRC-32. */
static const char *read_link(const hl_image *image, uint32_t *sum)
{
    Elf_Scn *section = find_section(image, ".gnu_debuglink", ".gnu_debuglink");
    Elf_Data *data = section ? elf_rawdata(section, NULL) : NULL;
    size_t length = data ? strnlen(data->d_buf, data->d_size) : 0, at = (length + 4) & ~(size_t)3;
    if (!length || at > data->d_size || data->d_size - at < 4)
        return NULL;
    const char *name = data->d_buf;
    memcpy(sum, name + at, sizeof *sum);
    return strchr(name, '/') ? NULL : name;
}

static bool has_sum(const hl_image *image, uint32_t wanted)
{
    enum { PIECE = 1 << 16 };
    unsigned char *piece = malloc(PIECE);
    uLong sum = crc32(0, NULL, 0);
    ssize_t n = -1;
    if (piece) {
        for (off_t at = 0; (n = pread(image->fd, piece, PIECE, at)) > 0; at += n)
            sum = crc32(sum, piece, (uInt)n);
    }
    free(piece);
    return n == 0 && sum == wanted;
}

/* Whether the file is the debug information of `image`: by build id where both have one, else by `sum` where there is one. */
static bool is_debug_of(const hl_image *debug, const hl_image *image, const uint32_t *sum)
{
    if ((debug->device == image->device && debug->inode == image->inode) || !hl_image_has_dwarf(debug))
        return false;
    if (*image->build_id && *debug->build_id)
        return strcmp(image->build_id, debug->build_id) == 0;
    return sum && has_sum(debug, *sum);
}

static bool try_path(hl_image *debug, const hl_image *image, const uint32_t *sum, const char *path)
{
    if (hl_image_open(debug, path))
        return false;
    if (is_debug_of(debug, image, sum))
        return true;
    hl_image_close(debug);
    return false;
}

/* In the places for an object at `object`. */
static bool try_link(hl_image *debug, const hl_image *image, const char *root, const char *object)
{
    uint32_t sum;
    char path[2 * sizeof image->path + 512];
    const char *name = read_link(image, &sum), *slash = strrchr(object, '/');
    if (!name || !slash || strlen(name) > 255 || strlen(root) >= sizeof image->path)
        return false;
    int folder = (int)(slash - object);
    snprintf(path, sizeof path, "%.*s/%s", folder, object, name);
    if (try_path(debug, image, &sum, path))
        return true;
    snprintf(path, sizeof path, "%.*s/.debug/%s", folder, object, name);
    if (try_path(debug, image, &sum, path))
        return true;
    snprintf(path, sizeof path, "%s%.*s/%s", root, folder, object, name);
    return try_path(debug, image, &sum, path);
}

bool hl_image_open_debug(const hl_image *image, const hl_resolve_request *request, hl_image *debug, uint32_t *flags)
{
    const char *id = image->build_id;
    char by_id[sizeof image->path];
    int length =
        snprintf(by_id, sizeof by_id, "%s/.build-id/%.2s/%s.debug", request->debug_directory, id, *id ? id + 2 : id);
    if (*id && (size_t)length < sizeof by_id && try_path(debug, image, NULL, by_id))
        return true;
    /* As announced, and with links resolved: /lib may be /usr/lib. */
    char *real = realpath(image->path, NULL);
    bool is_linked = try_link(debug, image, request->debug_directory, image->path) ||
                     (real && strcmp(real, image->path) != 0 && try_link(debug, image, request->debug_directory, real));
    free(real);
    if (is_linked)
        return true;
    if (!(request->flags & HL_RESOLVE_DEBUGINFOD) || !*id)
        return false;
    bool hangs = false;
    char *path = hl_debuginfod_find(id, request->alive, request->context, &hangs);
    if (hangs)
        *flags |= HL_TABLE_SERVERS_HANG;
    bool is_found = path && try_path(debug, image, NULL, path);
    free(path);
    return is_found;
}
