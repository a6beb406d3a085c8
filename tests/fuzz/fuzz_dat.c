/* fuzz_dat.c - .dat files of mprof: whatever is in one, it is read, and its pictures are drawn (src/mprof). */
#include "mprof.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    if (text == NULL)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    hl_dat dat;
    if (hl_dat_parse(&dat, text) != 0)
        return 0;
    hl_dat_point peak;
    hl_dat_peak(&dat, NULL, &peak);
    if (dat.calls > 0 && !hl_dat_peak(&dat, dat.call[0].name, &peak))
        abort();
    for (int way = 0; way < 2 && dat.memory.n > 0; way++) {
        hl_out out;
        hl_out_begin(&out, (hl_terminal){.width = 80, .utf8 = true});
        hl_plot_svg(&out, &dat, 1, &(hl_plot_options){.calls = true, .flame = way == 1, .slope = true});
        hl_out_release(&out);
    }
    hl_dat_release(&dat);
    return 0;
}
