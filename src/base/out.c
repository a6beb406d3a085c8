/* See out.h. */
#include "out.h"

#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

static bool is_set(const char *name)
{
    const char *value = getenv(name);
    return value && *value;
}

static bool is_on(const char *name)
{
    const char *value = getenv(name);
    return value && *value && strcmp(value, "0") != 0;
}

static bool wants_colour(int fd, hl_colour choice)
{
    if (choice != HL_COLOUR_AUTO)
        return choice == HL_COLOUR_ALWAYS;
    if (is_set("NO_COLOR"))
        return false;
    if (is_on("FORCE_COLOR") || is_on("CLICOLOR_FORCE"))
        return true;
    if (is_set("CLICOLOR") && !is_on("CLICOLOR"))
        return false;
    const char *term = getenv("TERM");
    return isatty(fd) && term && *term && strcmp(term, "dumb") != 0;
}

static bool choose_locale(void)
{
    static const char *const others[] = {"C.UTF-8", "C.utf8", "UTF-8", "en_US.UTF-8"};
    const char *locale = setlocale(LC_CTYPE, "");
    bool plain = !locale || strcmp(locale, "C") == 0 || strcmp(locale, "POSIX") == 0;
    for (size_t i = 0; plain && !is_set("LC_ALL") && i < sizeof others / sizeof *others; i++)
        plain = setlocale(LC_CTYPE, others[i]) == NULL;
    return strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

hl_terminal hl_terminal_of(int fd, hl_colour choice)
{
    hl_terminal terminal = {.width = 80, .colour = wants_colour(fd, choice), .utf8 = choose_locale()};
    struct winsize size;
    const char *columns = getenv("COLUMNS");
    if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        terminal.width = size.ws_col;
    else if (columns && atoi(columns) > 0)
        terminal.width = atoi(columns);
    if (terminal.width < 40)
        terminal.width = 40; /* below it no table makes sense; long lines wrap */
    if (terminal.width > 1000)
        terminal.width = 1000;
    return terminal;
}

void hl_out_begin(hl_out *out, hl_terminal terminal) { *out = (hl_out){.terminal = terminal}; }

void hl_out_release(hl_out *out)
{
    free(out->at);
    *out = (hl_out){.terminal = out->terminal};
}

static char *make_room(hl_out *out, size_t bytes)
{
    if (out->failed)
        return NULL;
    if (!out->at || out->room - out->bytes < bytes) {
        size_t room = out->room ? out->room : 4096;
        while (room - out->bytes < bytes)
            room *= 2;
        char *at = realloc(out->at, room);
        if (!at) {
            out->failed = true;
            return NULL;
        }
        out->at = at;
        out->room = room;
    }
    return out->at + out->bytes;
}

void hl_out_add(hl_out *out, const char *text, size_t bytes)
{
    char *to = bytes ? make_room(out, bytes) : NULL;
    if (to) {
        memcpy(to, text, bytes);
        out->bytes += bytes;
    }
}

void hl_out_put(hl_out *out, const char *text) { hl_out_add(out, text, strlen(text)); }

void hl_out_repeat(hl_out *out, const char *text, int times)
{
    for (int i = 0; i < times; i++)
        hl_out_put(out, text);
}

void hl_outf(hl_out *out, const char *format, ...)
{
    char small[256];
    va_list arguments;
    va_start(arguments, format);
    int bytes = vsnprintf(small, sizeof small, format, arguments);
    va_end(arguments);
    if (bytes < 0)
        return;
    if ((size_t)bytes < sizeof small) {
        hl_out_add(out, small, (size_t)bytes);
        return;
    }
    char *to = make_room(out, (size_t)bytes + 1);
    if (!to)
        return;
    va_start(arguments, format);
    vsnprintf(to, (size_t)bytes + 1, format, arguments);
    va_end(arguments);
    out->bytes += (size_t)bytes;
}

int hl_out_write(hl_out *out, int fd)
{
    if (out->failed)
        return -ENOMEM;
    for (size_t done = 0; done < out->bytes;) {
        ssize_t n = write(fd, out->at + done, out->bytes - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        done += (size_t)n;
    }
    return 0;
}

/* One character of UTF-8: its length, or 0 when the bytes are none (overlong, surrogate, beyond the last, cut off). */
static unsigned decode(const char *text, size_t bytes, uint32_t *character)
{
    const unsigned char *at = (const unsigned char *)text;
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    unsigned length = at[0] < 0x80 ? 1 : at[0] >= 0xf0 && at[0] < 0xf8 ? 4 : at[0] >= 0xe0 ? 3 : at[0] >= 0xc0 ? 2 : 0;
    if (at[0] >= 0xf8 || length == 0 || length > bytes)
        return 0;
    uint32_t value = length == 1 ? at[0] : at[0] & (0x7fu >> length);
    for (unsigned i = 1; i < length; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 0;
        value = value << 6 | (at[i] & 0x3f);
    }
    if (value < least[length] || value > 0x10ffff || (value >= 0xd800 && value < 0xe000))
        return 0;
    *character = value;
    return length;
}

/* Characters that a terminal obeys or that make text read in another order or disappear. */
static bool is_harmful(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0xad || (c >= 0x200b && c <= 0x200f) ||
           (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) || c == 0xfeff ||
           (c >= 0xfff9 && c <= 0xfffb) || (c >= 0xe0000 && c <= 0xe007f);
}

void hl_out_clean(hl_out *out, const char *text, size_t bytes)
{
    size_t clean_from = 0, i = 0;
    while (i < bytes) {
        if ((unsigned char)text[i] >= 0x20 && (unsigned char)text[i] < 0x7f) {
            i++;
            continue;
        }
        uint32_t c = 0;
        unsigned length = decode(text + i, bytes - i, &c);
        if (length > 1 && !is_harmful(c) && out->terminal.utf8 && wcwidth((wchar_t)c) >= 0) {
            i += length;
            continue;
        }
        hl_out_add(out, text + clean_from, i - clean_from);
        if (length == 0 || c < 0x100)
            hl_outf(out, "\\x%02x", length == 0 ? (unsigned char)text[i] : (unsigned)c);
        else
            hl_outf(out, c < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)c);
        i += length ? length : 1;
        clean_from = i;
    }
    hl_out_add(out, text + clean_from, bytes - clean_from);
}

static int columns_at(const char *clean, size_t bytes, unsigned *length)
{
    uint32_t c = 0;
    if ((unsigned char)*clean < 0x80) {
        *length = 1;
        return 1;
    }
    *length = decode(clean, bytes, &c);
    if (*length == 0) {
        *length = 1;
        return 1;
    }
    int columns = wcwidth((wchar_t)c);
    return columns < 0 ? 1 : columns;
}

int hl_columns(const char *clean, size_t bytes)
{
    int columns = 0;
    unsigned length;
    for (size_t i = 0; i < bytes; i += length)
        columns += columns_at(clean + i, bytes - i, &length);
    return columns;
}

size_t hl_prefix_of(const char *clean, size_t bytes, int columns)
{
    unsigned length;
    size_t i = 0;
    for (int used = 0; i < bytes; i += length) {
        used += columns_at(clean + i, bytes - i, &length);
        if (used > columns)
            break;
    }
    return i;
}

size_t hl_suffix_of(const char *clean, size_t bytes, int columns)
{
    int total = hl_columns(clean, bytes);
    unsigned length;
    size_t i = 0;
    while (i < bytes && total > columns) {
        total -= columns_at(clean + i, bytes - i, &length);
        i += length;
    }
    while (i < bytes && ((unsigned char)clean[i] & 0x80) != 0 && columns_at(clean + i, bytes - i, &length) == 0)
        i += length; /* a combining mark whose base was cut off */
    return bytes - i;
}

void hl_out_middle(hl_out *out, const char *clean, size_t bytes, int columns)
{
    if (hl_columns(clean, bytes) <= columns) {
        hl_out_add(out, clean, bytes);
        return;
    }
    const char *dots = hl_glyph(out, "…", "...");
    int room = columns - (out->terminal.utf8 ? 1 : 3);
    if (room < 1) {
        hl_out_add(out, clean, hl_prefix_of(clean, bytes, columns));
        return;
    }
    const char *slash = memrchr(clean, '/', bytes);
    int last = slash ? hl_columns(slash, (size_t)(clean + bytes - slash)) : 0;
    int tail = room - room / 3;
    if (last <= room && last > tail)
        tail = last;
    size_t suffix = hl_suffix_of(clean, bytes, tail);
    size_t prefix = hl_prefix_of(clean, bytes - suffix, room - hl_columns(clean + bytes - suffix, suffix));
    hl_out_add(out, clean, prefix);
    hl_out_put(out, dots);
    hl_out_add(out, clean + bytes - suffix, suffix);
}

void hl_out_style(hl_out *out, hl_style style)
{
    static const char *const codes[HL_STYLES] = {"\033[0m",  "\033[1m",  "\033[2m",  "\033[31m",
                                                 "\033[32m", "\033[33m", "\033[34m", "\033[36m"};
    if (out->terminal.colour)
        hl_out_put(out, codes[style]);
}
