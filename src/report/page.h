/*
 * page.h - the HTML report as one file: a page's script and style (the bundle, made from viewer/), around payloads.
 *
 * Whatever the profile holds is in the file as base64, or in its title and summary with every character that HTML gives a
 * meaning escaped. Its policy (Content-Security-Policy) allows this one script and this one style by their hashes and
 * nothing else: no network, no other script, also not where something should get through.
 */
#ifndef HL_REPORT_PAGE_H
#define HL_REPORT_PAGE_H

#include "payload.h"

typedef struct hl_text_of { /* bytes that live as long as the program */
    const char *at;
    size_t bytes;
} hl_text_of;

typedef struct hl_bundle {
    hl_text_of script, style, notices; /* notices: licences of what is in the script */
} hl_bundle;

/* What was built in; its script is empty where the command was built without the page. bundle.c, made by CMake */
const hl_bundle *hl_bundle_built_in(void);

typedef struct hl_page {
    const hl_bundle *bundle;
    const hl_payload *payload, *old; /* old: of --compare, or null */
    const char *view;                /* at which it opens: "overview", "flame", .. */
    const char *state;               /* what is selected there, as in the page's address behind its view; or "" */
} hl_page;

/* What a page weighs without its payloads, or a little more. */
size_t hl_page_frame_bytes(const hl_bundle *bundle);

/* Bytes of payload that `page_bytes` of base64 hold. */
size_t hl_page_payload_bytes(size_t page_bytes);

/* Writes all of it. `bytes`: how many these were. -EINVAL: the bundle cannot stand in a page (it ends its own element);
 * -ENOMEM; -errno of writing. */
int hl_page_write(const hl_page *page, int fd, uint64_t *bytes);

#endif
