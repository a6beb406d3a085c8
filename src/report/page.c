/* See page.h. */
#include "page.h"

#include "sha256.h"
#include "utf8.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/* ----------------------------------------------------------------------------------------------------------- writing */

typedef struct sink {
    int fd, error;
    uint64_t bytes;
} sink;

static void write_all(sink *to, const char *at, size_t bytes)
{
    while (bytes && !to->error) {
        ssize_t n = write(to->fd, at, bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            to->error = n < 0 ? -errno : -EIO;
            return;
        }
        to->bytes += (uint64_t)n;
        at += n;
        bytes -= (size_t)n;
    }
}

static void write_base64(sink *to, const unsigned char *at, size_t bytes)
{
    enum { PIECE = 48 * 1024 };
    char text[PIECE / 3 * 4];
    while (bytes && !to->error) {
        size_t n = bytes < PIECE ? bytes : PIECE;
        write_all(to, text, hl_base64(text, at, n));
        at += n;
        bytes -= n;
    }
}

/* ---------------------------------------------------------------------------------------------------------- escaping */

/* Text for an element or an attribute in double quotes. */
static void put_text(hl_out *out, const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes;) {
        unsigned length = hl_utf8_character(text + i, bytes - i);
        unsigned char c = (unsigned char)text[i];
        if (length == 0 || (c < 0x20 && c != '\n' && c != '\t') || c == 0x7f)
            hl_out_put(out, "\xef\xbf\xbd"); /* U+FFFD */
        else if (length == 1 && strchr("&<>\"'`", c))
            hl_outf(out, "&#%d;", c);
        else
            hl_out_add(out, text + i, length);
        i += length ? length : 1;
    }
}

static void put_string(hl_out *out, const char *text) { put_text(out, text, strlen(text)); }

/* A comment ends with the first "--" that ">" or "!>" follows: there is none. */
static void put_comment(hl_out *out, hl_text_of text)
{
    hl_out_put(out, "<!--\n");
    for (size_t i = 0; i < text.bytes; i++) {
        if (text.at[i] == '-' && i + 1 < text.bytes && (text.at[i + 1] == '-' || text.at[i + 1] == '>'))
            hl_out_put(out, "- ");
        else
            hl_out_add(out, text.at + i, 1);
    }
    hl_out_put(out, "\n-->\n");
}

static void put_hash(hl_out *out, hl_text_of text)
{
    unsigned char digest[HL_SHA256_BYTES];
    char base64[HL_SHA256_BASE64];
    hl_sha256(text.at, text.bytes, digest);
    hl_out_put(out, "'sha256-");
    hl_out_add(out, base64, hl_base64(base64, digest, sizeof digest));
    hl_out_put(out, "'");
}

static bool contains(hl_text_of text, const char *what)
{
    size_t n = strlen(what);
    for (size_t i = 0; i + n <= text.bytes; i++)
        if (strncasecmp(text.at + i, what, n) == 0)
            return true;
    return false;
}

/* Whether the browser reads exactly this, up to the tag that we write behind it: nothing in it ends the element or changes
 * the state of the parser (https://html.spec.whatwg.org/#restrictions-for-contents-of-script-elements), and there are
 * no line ends that it changes, or the hash would be of something else. */
static bool can_stand(hl_text_of text, const char *end)
{
    bool odd = text.bytes && (memchr(text.at, '\r', text.bytes) || memchr(text.at, 0, text.bytes));
    return !odd && !contains(text, end) && !contains(text, "<!--");
}

/* -------------------------------------------------------------------------------------------------------------- page */

static void put_head(const hl_page *page, hl_out *out)
{
    hl_out_put(out, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src ");
    put_hash(out, page->bundle->script);
    hl_out_put(out, "; style-src ");
    put_hash(out, page->bundle->style);
    hl_out_put(out, "; img-src data:; base-uri 'none'; form-action 'none'\">\n"
                    "<meta name=\"referrer\" content=\"no-referrer\">\n"
                    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                    "<meta name=\"color-scheme\" content=\"light dark\">\n"
                    "<meta name=\"generator\" content=\"heapline " HEAPLINE_VERSION "\">\n<title>");
    put_string(out, page->payload->title);
    hl_out_put(out, "</title>\n");
    if (page->bundle->notices.bytes)
        put_comment(out, page->bundle->notices);
    hl_out_put(out, "<style>");
    hl_out_add(out, page->bundle->style.at, page->bundle->style.bytes);
    hl_out_put(out, "</style>\n</head>\n<body data-view=\"");
    put_string(out, page->view);
    hl_out_put(out, "\" data-state=\"");
    put_string(out, page->state ? page->state : "");
    /* Until the script has taken over, and for who has none. */
    hl_out_put(out, "\">\n<div id=\"heapline-app\">\n<pre id=\"heapline-summary\">");
    put_string(out, page->payload->summary);
    hl_out_put(out, "</pre>\n<noscript><p>This report needs JavaScript, of this one file only. In a terminal: heapline "
                    "stats PROFILE</p></noscript>\n</div>\n");
}

size_t hl_page_frame_bytes(const hl_bundle *bundle)
{
    enum { ROOM = 16384 }; /* for title and summary, which are some lines */
    return bundle->script.bytes + bundle->style.bytes + bundle->notices.bytes * 2 + ROOM;
}

size_t hl_page_payload_bytes(size_t page_bytes) { return page_bytes / 4 * 3; }

int hl_page_write(const hl_page *page, int fd, uint64_t *bytes)
{
    static const char data[] = "<script type=\"application/octet-stream\" id=\"heapline-";
    const hl_bundle *bundle = page->bundle;
    *bytes = 0;
    if (!can_stand(bundle->script, "</script") || !can_stand(bundle->style, "</style"))
        return -EINVAL;
    sink to = {.fd = fd};
    hl_out head;
    hl_out_begin(&head, (hl_terminal){.width = 80, .utf8 = true});
    put_head(page, &head);
    if (head.failed)
        to.error = -ENOMEM;
    else
        write_all(&to, head.at, head.bytes);
    hl_out_release(&head);
    const struct {
        const char *id;
        const hl_payload *payload;
    } payloads[] = {{"data", page->payload}, {"old", page->old}};
    for (int i = 0; i < 2; i++) {
        if (!payloads[i].payload)
            continue;
        write_all(&to, data, sizeof data - 1);
        write_all(&to, payloads[i].id, strlen(payloads[i].id));
        write_all(&to, "\">", 2);
        write_base64(&to, payloads[i].payload->at, payloads[i].payload->bytes);
        write_all(&to, "</script>\n", strlen("</script>\n"));
    }
    write_all(&to, "<script>", strlen("<script>"));
    write_all(&to, bundle->script.at, bundle->script.bytes);
    write_all(&to, "</script>\n</body>\n</html>\n", strlen("</script>\n</body>\n</html>\n"));
    *bytes = to.bytes;
    return to.error;
}
