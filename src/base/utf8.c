/* See utf8.h. */
#include "utf8.h"

unsigned hl_utf8_character(const char *text, size_t bytes)
{
    const unsigned char *at = (const unsigned char *)text;
    if (at[0] < 0x80)
        return 1;
    unsigned length = at[0] >= 0xc2 && at[0] < 0xe0   ? 2
                      : at[0] >= 0xe0 && at[0] < 0xf0 ? 3
                      : at[0] >= 0xf0 && at[0] < 0xf5 ? 4
                                                      : 0;
    if (length == 0 || length > bytes)
        return 0;
    for (unsigned i = 1; i < length; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xf0 && at[1] < 0x90);
    bool surrogate = at[0] == 0xed && at[1] >= 0xa0;
    bool beyond = at[0] == 0xf4 && at[1] >= 0x90;
    return overlong || surrogate || beyond ? 0 : length;
}

void hl_out_utf8(hl_out *out, const char *text, size_t bytes)
{
    size_t from = 0;
    for (size_t i = 0; i < bytes;) {
        unsigned length = hl_utf8_character(text + i, bytes - i);
        if (length) {
            i += length;
            continue;
        }
        hl_out_add(out, text + from, i - from);
        hl_out_put(out, "\xef\xbf\xbd"); /* U+FFFD */
        from = ++i;
    }
    hl_out_add(out, text + from, bytes - from);
}
