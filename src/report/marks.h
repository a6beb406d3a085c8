/* marks.h - marks that programs have put into the recording. Each returns 0, or a negative code with words in `why`. */
#ifndef HL_REPORT_MARKS_H
#define HL_REPORT_MARKS_H

#include "report.h"

/* A table of the first ones; nothing where there are none. */
int hl_marks_put_text(hl_report *report);
/* An array "marks" in the open object: all of them. */
int hl_marks_put_json(hl_report *report, hl_json *json);

#endif
