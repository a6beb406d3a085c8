/* options.c - see options.h. */
#include "options.h"

#include "error.h"
#include "suggest.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { GO_ON = -1, NAMES = 64 };

static int usage_status(const hl_syntax *syntax) { return syntax->usage_status ? syntax->usage_status : HL_EXIT_USAGE; }

int hl_options_mistake(const hl_syntax *syntax, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    size_t bytes = strlen(text);
    if (bytes > 0 && text[bytes - 1] == ')') /* says itself what to do */
        hl_error("%s: %s", syntax->name, text);
    else
        hl_error("%s: %s (see: heapline %s --help)", syntax->name, text, syntax->name);
    return usage_status(syntax);
}

/* --------------------------------------------------------------------------------------------------------- --help */

static void wrapped(FILE *to, const char *text, int indent, int width)
{
    int at = indent;
    while (*text != '\0') {
        int word = (int)strcspn(text, " ");
        if (at > indent && at + 1 + word > width) {
            fprintf(to, "\n%*s", indent, "");
            at = indent;
        }
        if (at > indent)
            at += fprintf(to, " ");
        at += fprintf(to, "%.*s", word, text);
        text += word;
        while (*text == ' ')
            text++;
    }
    fprintf(to, "\n");
}

static void help_option(const hl_option *o, FILE *to)
{
    char left[96];
    int n = o->letter ? snprintf(left, sizeof left, "  -%c, --%s", o->letter, o->name)
                      : snprintf(left, sizeof left, "      --%s", o->name);
    if (strlen(o->name) == 1) /* -m and -c have no long form */
        n = snprintf(left, sizeof left, "  -%s", o->name);
    if (o->kind == HL_OPTION_OPTIONAL_NUMBER)
        snprintf(left + n, sizeof left - (size_t)n, "[=%s]", o->value ? o->value : "N");
    else if (o->kind == HL_OPTION_CHOICE) {
        for (const char *const *c = o->choices; *c != NULL; c++)
            n += snprintf(left + n, sizeof left - (size_t)n, "%c%s", c == o->choices ? '=' : '|', *c);
    } else if (o->kind != HL_OPTION_FLAG)
        snprintf(left + n, sizeof left - (size_t)n, " %s", o->value ? o->value : "VALUE");
    enum { COLUMN = 26 };
    if (strlen(left) > COLUMN - 2)
        fprintf(to, "%s\n%*s", left, COLUMN, "");
    else
        fprintf(to, "%-*s", COLUMN, left);
    wrapped(to, o->help ? o->help : "", COLUMN, 80);
}

void hl_options_help(const hl_syntax *syntax, FILE *to)
{
    fprintf(to, "usage: ");
    const char *usage = syntax->usage;
    for (bool first = true; *usage != '\0'; first = false) {
        int line = (int)strcspn(usage, "\n");
        fprintf(to, "%sheapline %s %.*s\n", first ? "" : "       ", syntax->name, line, usage);
        usage += line + (usage[line] == '\n');
    }
    fprintf(to, "\n%s\n", syntax->summary);
    if (syntax->description != NULL)
        fprintf(to, "\n%s\n", syntax->description);
    fprintf(to, "\noptions:\n");
    for (const hl_option *o = syntax->options; o->name != NULL; o++) {
        if (!o->hidden)
            help_option(o, to);
    }
    help_option(&(hl_option){.name = "help", .letter = 'h', .kind = HL_OPTION_FLAG, .help = "show this and exit"}, to);
}

/* --------------------------------------------------------------------------------------------------------- parsing */

typedef struct parser {
    const hl_syntax *syntax;
    char *into;
    char shown[96]; /* the option as the user typed it, for messages */
} parser;

static int bad_value(parser *p, const hl_option *o, const char *text, int error)
{
    if (error == -ERANGE && o->most != 0)
        return hl_options_mistake(p->syntax, "%s %s: out of range (%llu to %llu)", p->shown, text,
                                  (unsigned long long)o->least, (unsigned long long)o->most);
    if (error == -ERANGE)
        return hl_options_mistake(p->syntax, "%s %s: out of range", p->shown, text);
    const char *wanted = o->kind == HL_OPTION_DURATION ? "a duration, such as 10ms or 1.5s"
                         : o->kind == HL_OPTION_SIZE   ? "a size, such as 10MB or 4KiB"
                                                       : "a number";
    return hl_options_mistake(p->syntax, "%s %s: this is not %s", p->shown, text, wanted);
}

static int bad_range(parser *p, const hl_option *o, const char *text)
{
    if (o->kind == HL_OPTION_DURATION)
        return hl_options_mistake(p->syntax, "%s %s: out of range (%g s to %g s)", p->shown, text,
                                  (double)o->least / 1e9, (double)o->most / 1e9);
    return bad_value(p, o, text, -ERANGE);
}

static int set_choice(parser *p, const hl_option *o, const char *text)
{
    char all[256] = "";
    for (unsigned i = 0; o->choices[i] != NULL; i++) {
        if (strcmp(o->choices[i], text) == 0) {
            *(unsigned *)(p->into + o->offset) = i;
            return GO_ON;
        }
        size_t used = strlen(all);
        snprintf(all + used, sizeof all - used, "%s%s", i ? ", " : "", o->choices[i]);
    }
    const char *meant = hl_suggest(text, o->choices);
    if (meant != NULL)
        return hl_options_mistake(p->syntax, "%s %s: unknown, did you mean %s? (one of: %s)", p->shown, text, meant,
                                  all);
    return hl_options_mistake(p->syntax, "%s %s: unknown (one of: %s)", p->shown, text, all);
}

/* Sets the field of `o` from `text`; null for a flag, and for an optional number that was not given. */
static int set(parser *p, const hl_option *o, const char *text)
{
    void *field = p->into + o->offset;
    uint64_t value = o->absent;
    int error = 0;
    switch (o->kind) {
    case HL_OPTION_FLAG:
        *(bool *)field = true;
        return GO_ON;
    case HL_OPTION_TEXT:
        *(const char **)field = text;
        return GO_ON;
    case HL_OPTION_CHOICE:
        return set_choice(p, o, text);
    case HL_OPTION_LIST: {
        hl_option_list *list = field;
        const char **more = realloc(list->at, (list->n + 1) * sizeof *more);
        if (more == NULL)
            return hl_options_mistake(p->syntax, "%s", hl_error_text(ENOMEM));
        list->at = more;
        list->at[list->n++] = text;
        return GO_ON;
    }
    case HL_OPTION_NUMBER:
    case HL_OPTION_OPTIONAL_NUMBER:
        if (text != NULL)
            error = hl_parse_number(text, &value);
        break;
    case HL_OPTION_DURATION:
        error = hl_parse_duration(text, &value);
        break;
    case HL_OPTION_SIZE:
        error = hl_parse_size(text, &value);
        break;
    }
    if (error)
        return bad_value(p, o, text, error);
    if (text != NULL && o->most != 0 && (value < o->least || value > o->most))
        return bad_range(p, o, text);
    *(uint64_t *)field = value;
    return GO_ON;
}

static int unknown(parser *p)
{
    const char *names[NAMES + 2];
    size_t n = 0;
    for (const hl_option *o = p->syntax->options; o->name != NULL && n < NAMES; o++) {
        if (!o->hidden)
            names[n++] = o->name;
    }
    names[n++] = "help";
    names[n] = NULL;
    const char *meant = p->shown[1] == '-' ? hl_suggest(p->shown + 2, names) : NULL;
    if (meant != NULL)
        return hl_options_mistake(p->syntax, "%s: no such option, did you mean --%s?", p->shown, meant);
    const char *others = p->syntax->others_letters;
    if (others != NULL && p->shown[1] != '-' && strchr(others, p->shown[1]) != NULL)
        return hl_options_mistake(p->syntax, "%s: no such option; %s", p->shown, p->syntax->others_place);
    return hl_options_mistake(p->syntax, "%s: no such option", p->shown);
}

static int print_help(parser *p)
{
    hl_options_help(p->syntax, stdout);
    return fflush(stdout) == 0 || errno == EPIPE ? HL_EXIT_OK : usage_status(p->syntax);
}

static bool takes_value(const hl_option *o)
{
    return o->kind != HL_OPTION_FLAG && o->kind != HL_OPTION_OPTIONAL_NUMBER;
}

/* "--name", "--name=value"; `next` is the word behind it, or null. */
static int long_option(parser *p, const char *word, const char *next, bool *used_next, const hl_option **found)
{
    size_t letters = strcspn(word + 2, "=");
    const char *value = word[2 + letters] == '=' ? word + 2 + letters + 1 : NULL;
    snprintf(p->shown, sizeof p->shown, "--%.*s", (int)letters, word + 2);
    if (letters == 4 && strncmp(word + 2, "help", 4) == 0)
        return print_help(p);
    for (const hl_option *o = p->syntax->options; o->name != NULL; o++) {
        if (letters < 2 || strncmp(o->name, word + 2, letters) != 0 || o->name[letters] != '\0')
            continue;
        *found = o;
        if (takes_value(o) && value == NULL) {
            if (next == NULL)
                return hl_options_mistake(p->syntax, "%s needs a value", p->shown);
            value = next;
            *used_next = true;
        } else if (o->kind == HL_OPTION_FLAG && value != NULL)
            return hl_options_mistake(p->syntax, "%s takes no value", p->shown);
        return set(p, o, value);
    }
    return unknown(p);
}

/* "-a", "-abc", "-nVALUE", "-n VALUE". */
static int short_options(parser *p, const char *word, const char *next, bool *used_next, const hl_option **found)
{
    for (const char *letter = word + 1; *letter != '\0'; letter++) {
        snprintf(p->shown, sizeof p->shown, "-%c", *letter);
        if (*letter == 'h')
            return print_help(p);
        const hl_option *o = p->syntax->options;
        while (o->name != NULL && o->letter != *letter && !(o->name[0] == *letter && o->name[1] == '\0'))
            o++;
        if (o->name == NULL)
            return unknown(p);
        *found = o;
        if (!takes_value(o)) {
            int status = set(p, o, NULL);
            if (status != GO_ON)
                return status;
            continue;
        }
        const char *value = letter[1] != '\0' ? letter + 1 : next;
        if (value == NULL)
            return hl_options_mistake(p->syntax, "%s needs a value", p->shown);
        *used_next = letter[1] == '\0';
        return set(p, o, value);
    }
    return GO_ON;
}

int hl_options_parse(const hl_syntax *syntax, int *argc, char **argv, void *into)
{
    parser p = {.syntax = syntax, .into = into};
    int operands = 0;
    bool options = true;
    for (int i = 1; i < *argc; i++) {
        char *word = argv[i];
        if (!options || word[0] != '-' || word[1] == '\0') {
            argv[operands++] = word;
            options = options && !syntax->operands_end_options;
            continue;
        }
        if (strcmp(word, "--") == 0) {
            options = false;
            continue;
        }
        bool used_next = false;
        const hl_option *found = NULL;
        const char *next = i + 1 < *argc ? argv[i + 1] : NULL;
        int status = word[1] == '-' ? long_option(&p, word, next, &used_next, &found)
                                    : short_options(&p, word, next, &used_next, &found);
        if (status != GO_ON)
            return status;
        i += used_next;
        options = options && !(found != NULL && found->ends_options);
    }
    argv[operands] = NULL;
    *argc = operands;
    return GO_ON;
}
