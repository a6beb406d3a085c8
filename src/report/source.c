/* See source.h. */
#include "source.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

enum { TEXT_MAX_BYTES = 16 << 20 };

int hl_sources_begin(hl_sources *sources, const hl_model *model)
{
    *sources = (hl_sources){.model = model, .file = calloc(model->files.n ? model->files.n : 1, sizeof *sources->file)};
    return sources->file ? 0 : -ENOMEM;
}

void hl_sources_release(hl_sources *sources)
{
    for (uint32_t i = 0; sources->file && i < sources->model->files.n; i++) {
        free(sources->file[i].text);
        free(sources->file[i].begin);
    }
    free(sources->file);
    *sources = (hl_sources){0};
}

static char *from_profile(const hl_model *m, int64_t id, size_t *bytes)
{
    sqlite3_stmt *row;
    char *text = NULL;
    if (sqlite3_prepare_v2(m->database, "SELECT source_bytes, source FROM file WHERE id = ?1", -1, &row, NULL) !=
        SQLITE_OK)
        return NULL;
    sqlite3_bind_int64(row, 1, id);
    if (sqlite3_step(row) == SQLITE_ROW) {
        int64_t promised = sqlite3_column_int64(row, 0);
        uLongf got = promised > 0 && promised <= TEXT_MAX_BYTES ? (uLongf)promised : 0;
        const void *packed = sqlite3_column_blob(row, 1);
        text = got && packed ? malloc(got) : NULL;
        if (text && uncompress((Bytef *)text, &got, packed, (uLong)sqlite3_column_bytes(row, 1)) != Z_OK) {
            free(text);
            text = NULL;
        }
        *bytes = got;
    }
    sqlite3_finalize(row);
    return text;
}

static uint64_t nanoseconds(struct timespec t) { return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec; }

/* The file on this machine, when it is older than the end of the recording. */
static char *from_disk(const hl_model *m, const char *path, size_t *bytes, const char **why)
{
    char absolute[4096];
    uint64_t end_ns = (uint64_t)hl_model_number(m, "start_unix_ns", 0) + m->now_ns;
    if (path[0] != '/' &&
        snprintf(absolute, sizeof absolute, "%s/%s", hl_model_text(m, "directory", "."), path) < (int)sizeof absolute)
        path = absolute;
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    *why = "its text is neither in the profile nor on this machine";
    if (fd < 0)
        return NULL;
    char *text = NULL;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0 && st.st_size <= TEXT_MAX_BYTES) {
        if (nanoseconds(st.st_mtim) > end_ns) {
            *why = "the file has changed since the recording, so its text is not shown";
        } else if ((text = malloc((size_t)st.st_size))) {
            ssize_t n;
            for (*bytes = 0;
                 *bytes < (size_t)st.st_size && (n = read(fd, text + *bytes, (size_t)st.st_size - *bytes)) > 0;)
                *bytes += (size_t)n;
        }
    }
    close(fd);
    return text;
}

static void split(hl_source *source, size_t bytes)
{
    uint32_t lines = 1;
    for (size_t i = 0; i < bytes; i++)
        lines += source->text[i] == '\n';
    source->begin = malloc(((size_t)lines + 1) * sizeof *source->begin);
    if (!source->begin)
        return;
    source->bytes = bytes;
    source->begin[0] = 0;
    for (size_t i = 0; i < bytes; i++)
        if (source->text[i] == '\n')
            source->begin[++source->n] = (uint32_t)i + 1;
    if (source->begin[source->n] < bytes) /* a last line without its end */
        source->begin[++source->n] = (uint32_t)bytes + 1;
}

const hl_source *hl_source_of(hl_sources *sources, uint32_t file)
{
    hl_source *source = &sources->file[file];
    if (source->tried)
        return source;
    source->tried = true;
    const hl_model_file *f = &sources->model->files.row[file];
    size_t bytes = 0;
    if (f->embedded)
        source->text = from_profile(sources->model, f->id, &bytes);
    if (!source->text && f->path[0] != '<')
        source->text = from_disk(sources->model, f->path, &bytes, &source->why);
    if (source->text && bytes)
        split(source, bytes);
    else if (!source->why)
        source->why = "it has no text";
    return source;
}

const char *hl_source_line(const hl_source *source, int32_t line, size_t *bytes)
{
    if (line < 1 || (uint32_t)line > source->n)
        return NULL;
    uint32_t from = source->begin[line - 1], to = source->begin[line] - 1;
    if (to > from && source->text[to - 1] == '\r')
        to--;
    *bytes = to - from;
    return source->text + from;
}
