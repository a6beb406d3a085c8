/* See html.h. `heapline report` and `heapline flamegraph`: docs/heapline-report.md. */
#include "html.h"

#include "number.h"
#include "output.h"
#include "profile.h"
#include "report.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* --------------------------------------------------------------------------------------------------------- the file */

/* "app.4711.heapline" -> "app.4711.html", in the same folder. */
static int name_beside(const char *profile, char path[PATH_MAX])
{
    static const char end[] = ".heapline";
    size_t n = strlen(profile);
    if (n > sizeof end - 1 && strcmp(profile + n - (sizeof end - 1), end) == 0)
        n -= sizeof end - 1;
    return snprintf(path, PATH_MAX, "%.*s.html", (int)n, profile) < PATH_MAX ? 0 : -ENAMETOOLONG;
}

typedef struct making {
    const char *path; /* of the profile */
    const hl_page_options *o;
    hl_bundle bundle;
    hl_out read[3]; /* what is in a bundle of one's own */
    hl_page page;
    char output[PATH_MAX]; /* "" for stdout */
    uint64_t bytes;
    int status;
} making;

static int cannot_write(making *m, const char *why)
{
    hl_error("%s: cannot be written: %s", *m->output ? m->output : "stdout", why);
    return HL_EXIT_NOT_A_PROFILE;
}

/* Before anything is read or computed. -1, or the exit status. */
static int check_output(making *m)
{
    char why[512];
    const char *output = m->o->output;
    if (output && strcmp(output, "-") == 0) {
        if (!isatty(STDOUT_FILENO))
            return -1;
        hl_error("-o -: stdout is a terminal (redirect it, or name a file)");
        return HL_EXIT_USAGE;
    }
    int error = output ? hl_output_expand(output, "report", getpid(), m->output) : name_beside(m->path, m->output);
    if (!error && !output) { /* hl_output_check wants a path */
        char beside[PATH_MAX];
        strcpy(beside, m->output);
        char here[PATH_MAX];
        if (beside[0] != '/' && getcwd(here, sizeof here) &&
            snprintf(m->output, sizeof m->output, "%s/%s", here, beside) >= (int)sizeof m->output)
            error = -ENAMETOOLONG;
    }
    if (error) {
        hl_error("%s: %s", output ? output : m->path,
                 error == -EINVAL ? "% stands for something in a file's name (%% is a percent sign)"
                                  : hl_error_text(error));
        return HL_EXIT_USAGE;
    }
    if (hl_output_check(m->output, m->o->force, why, sizeof why) != 0) {
        hl_error("%s: %s", m->output, why);
        return HL_EXIT_USAGE;
    }
    return -1;
}

/* The page into a file of its own, which then takes the name: who reads it sees the old one or the whole new one. */
static int write_file(making *m)
{
    char partial[PATH_MAX + 16];
    snprintf(partial, sizeof partial, "%s.XXXXXX", m->output);
    int fd = mkostemp(partial, O_CLOEXEC);
    if (fd < 0)
        return cannot_write(m, hl_error_text(errno));
    mode_t mask = umask(0);
    umask(mask);
    int error = hl_page_write(&m->page, fd, &m->bytes);
    if (!error && fchmod(fd, 0666 & ~mask) != 0)
        error = -errno;
    if (close(fd) != 0 && !error)
        error = -errno;
    if (!error && m->o->budget && m->bytes > m->o->budget)
        error = -EFBIG;
    if (!error && rename(partial, m->output) != 0)
        error = -errno;
    if (!error)
        return HL_EXIT_OK;
    unlink(partial);
    return cannot_write(m, error == -EINVAL ? "the page that is built in is damaged" : hl_error_text(error));
}

static int write_stdout(making *m)
{
    int error = hl_page_write(&m->page, STDOUT_FILENO, &m->bytes);
    if (error == 0 || error == -EPIPE) /* the reader has seen enough */
        return HL_EXIT_OK;
    return cannot_write(m, error == -EINVAL ? "the page that is built in is damaged" : hl_error_text(error));
}

/* ------------------------------------------------------------------------------------------------------------ telling */

static void tell(const making *m)
{
    char size[HL_NUMBER_BYTES], count[HL_NUMBER_BYTES];
    const hl_payload *p = m->page.payload;
    if (*m->output) {
        hl_out out;
        hl_out_begin(&out, hl_terminal_of(STDOUT_FILENO, HL_COLOUR_NEVER));
        hl_out_clean(&out, m->output, strlen(m->output));
        hl_outf(&out, " (%s)\n", hl_size_text(size, (int64_t)m->bytes));
        hl_out_write(&out, STDOUT_FILENO);
        hl_out_release(&out);
    }
    if (p->folded_nodes)
        hl_error("%s light call-tree nodes are in (other), each less than %.2g %% of every total (--budget allows a "
                 "larger file)",
                 hl_count_text(count, p->folded_nodes), p->folded_share_most * 100);
    if (p->private_sources)
        hl_error("the text of %u source file%s that others may not read is not in it (--private-source puts it in)",
                 p->private_sources, p->private_sources == 1 ? "" : "s");
    if (p->unfit_sources)
        hl_error("the text of %u source file%s is not in it: it does not fit (--budget allows a larger file)",
                 p->unfit_sources, p->unfit_sources == 1 ? "" : "s");
}

/* xdg-open, without a terminal of ours: it may start a browser that stays. 0, or an errno code with words in `why`. */
static int open_in_browser(const char *path, char *why, size_t why_bytes)
{
    enum { PATIENCE_MS = 3000 };
    pid_t child = fork();
    if (child == 0) {
        int null = open("/dev/null", O_RDWR);
        for (int fd = 0; null >= 0 && fd < 3; fd++)
            dup2(null, fd);
        setsid();
        execlp("xdg-open", "xdg-open", path, (char *)NULL);
        _exit(127);
    }
    int status = 0;
    for (int ms = 0; child > 0; ms += 20) {
        pid_t ended = waitpid(child, &status, WNOHANG);
        if (ended == 0 && ms < PATIENCE_MS) {
            nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
            continue;
        }
        if (ended <= 0) /* it runs on: it has found one */
            return 0;
        break;
    }
    if (child < 0) {
        snprintf(why, why_bytes, "%s", hl_error_text(errno));
        return -EAGAIN;
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
        snprintf(why, why_bytes, "xdg-open is not installed");
    else
        snprintf(why, why_bytes, "xdg-open found no browser that could");
    return -ENOENT;
}

/* -------------------------------------------------------------------------------------------------------------- making */

static int complain(const char *path, const char *why)
{
    hl_report_complain(path, why);
    return HL_EXIT_NOT_A_PROFILE;
}

/* Room for payloads: 0 is any amount. -1, or the exit status. */
static int find_room(const making *m, size_t *room)
{
    char least[HL_NUMBER_BYTES];
    size_t frame = hl_page_frame_bytes(m->page.bundle);
    *room = 0;
    if (!m->o->budget)
        return -1;
    if (m->o->budget > frame + 4096)
        *room = hl_page_payload_bytes(m->o->budget - frame);
    if (*room)
        return -1;
    hl_error("--budget: the page alone takes %s", hl_size_text(least, (int64_t)frame + 4096));
    return HL_EXIT_USAGE;
}

/* A payload that fits into `room` bytes. */
static int make_payload(hl_payload *payload, const char *path, hl_model *model, const making *m, size_t room,
                        const hl_frame_match *match)
{
    char why[512] = "";
    hl_payload_options options = {.path = path,
                                  .editor = m->o->editor,
                                  .most_bytes = room,
                                  .budget_bytes = m->o->budget,
                                  .no_source = m->o->no_source,
                                  .private_source = m->o->private_source,
                                  .match = match};
    int error = hl_payload_make(payload, model, &options, why, sizeof why);
    if (!error)
        return HL_EXIT_OK;
    if (error == -EFBIG) {
        hl_error("%s: does not fit into --budget, even with all light call-tree nodes folded (give it more)", path);
        return HL_EXIT_USAGE;
    }
    return complain(path, *why ? why : hl_error_text(error));
}

static int open_profile(const char *path, hl_profile **profile, hl_model **model)
{
    char why[512] = "";
    int error = hl_profile_open(profile, path, why, sizeof why);
    if (!error)
        error = hl_model_load(model, hl_profile_database(*profile), HL_FRAMES_ALL, why, sizeof why);
    if (!error && (*model)->running)
        (*model)->watched = hl_report_is_recorded(*model);
    return error ? complain(path, *why ? why : hl_error_text(error)) : HL_EXIT_OK;
}

/* With an older one: its payload first, for up to two fifths of the room; the new one has what is left. */
static int make_both(making *m, hl_model *model, size_t room, hl_payload *old, hl_payload *new)
{
    hl_profile *profile = NULL;
    hl_model *older = NULL;
    uint32_t *partner = NULL;
    int status = open_profile(m->o->old, &profile, &older);
    if (status == HL_EXIT_OK)
        status = make_payload(old, m->o->old, older, m, room / 5 * 2, NULL);
    if (status == HL_EXIT_OK && hl_frames_match(older, model, &partner) != 0)
        status = complain(m->o->old, "cannot be compared: out of memory");
    if (status == HL_EXIT_OK) {
        hl_frame_match match = {old->frames, old->frame_count, partner};
        size_t used = (old->bytes + 2) / 3 * 3 + 256;
        status = make_payload(new, m->path, model, m, room ? room - used : 0, &match);
    }
    free(partner);
    hl_model_release(older);
    hl_profile_close(profile);
    return status;
}

static int read_file(hl_out *into, const char *folder, const char *name, hl_text_of *text)
{
    char path[PATH_MAX], piece[65536];
    hl_out_begin(into, (hl_terminal){.width = 80, .utf8 = true});
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : 0;
    while (fd >= 0 && (n = read(fd, piece, sizeof piece)) > 0)
        hl_out_add(into, piece, (size_t)n);
    int error = n < 0 ? -errno : into->failed ? -ENOMEM : 0;
    if (fd >= 0)
        close(fd);
    *text = (hl_text_of){into->at, into->bytes};
    return error;
}

/* The bundle: what is built in, or what was said. -1, or the exit status. */
static int find_bundle(making *m)
{
    const char *folder = m->o->bundle;
    m->page.bundle = &m->bundle;
    m->bundle = *hl_bundle_built_in();
    if (folder) {
        int error = read_file(&m->read[0], folder, "viewer.js", &m->bundle.script);
        if (!error)
            error = read_file(&m->read[1], folder, "viewer.css", &m->bundle.style);
        if (!error && read_file(&m->read[2], folder, "notices.txt", &m->bundle.notices) != 0)
            m->bundle.notices = (hl_text_of){"", 0};
        if (error) {
            hl_error("--bundle %s: %s", folder, hl_error_text(error));
            return HL_EXIT_USAGE;
        }
    }
    if (m->bundle.script.bytes)
        return -1;
    hl_error("this heapline was built without the page of its HTML report (build it where Node.js and npm are "
             "installed, or install a release; stats, tree, table, lines and timeline show the same in a terminal)");
    return HL_EXIT_OURS;
}

static int make_file(making *m, hl_model *model)
{
    hl_payload new = {0}, old = {0};
    size_t room;
    int status = check_output(m);
    if (status < 0)
        status = find_room(m, &room);
    if (status >= 0)
        return status;
    m->page.payload = &new;
    m->page.old = m->o->old ? &old : NULL;
    if (m->o->old)
        status = make_both(m, model, room, &old, &new);
    else
        status = make_payload(&new, m->path, model, m, room, NULL);
    if (status == HL_EXIT_OK)
        status = *m->output ? write_file(m) : write_stdout(m);
    if (status == HL_EXIT_OK)
        tell(m);
    m->page.payload = m->page.old = NULL;
    hl_payload_release(&new);
    hl_payload_release(&old);
    return status;
}

int hl_page_make(const char *path, hl_model *model, const char *view, const char *state, const hl_page_options *o)
{
    making m = {.path = path, .o = o, .page = {.view = view, .state = state}};
    char why[128];
    int status = find_bundle(&m);
    if (status < 0)
        status = make_file(&m, model);
    for (int i = 0; i < 3; i++)
        hl_out_release(&m.read[i]);
    if (status == HL_EXIT_OK && o->open && open_in_browser(m.output, why, sizeof why) != 0) {
        hl_error("--open: %s (open %s in a browser)", why, m.output);
        status = HL_EXIT_NOT_FOUND;
    }
    return status;
}

/* ------------------------------------------------------------------------------------------------------------ commands */

const char hl_page_editor[] = "vscode://file{path}:{line}:{column}";

static const char *const editors[][2] = {
    {"vscode", hl_page_editor},
    {"vscodium", "vscodium://file{path}:{line}:{column}"},
    {"cursor", "cursor://file{path}:{line}:{column}"},
    {"zed", "zed://file{path}:{line}:{column}"},
    {"idea", "idea://open?file={path}&line={line}&column={column}"},
    {"pycharm", "pycharm://open?file={path}&line={line}&column={column}"},
    {"sublime", "subl://open?url=file://{path}&line={line}&column={column}"},
    {"textmate", "txmt://open?url=file://{path}&line={line}&column={column}"},
    {"emacs", "emacs://open?url=file://{path}&line={line}&column={column}"},
    {"none", "none"},
};

/* A name of the list, or a template of the user's own: another program's scheme, never one that the browser runs. */
static int choose_editor(const hl_syntax *syntax, const char *word, const char **template)
{
    static const char *const forbidden[] = {"javascript:", "data:", "vbscript:", "blob:", "about:"};
    if (!word)
        word = "vscode";
    for (size_t i = 0; i < sizeof editors / sizeof *editors; i++) {
        if (strcmp(word, editors[i][0]) == 0) {
            *template = editors[i][1];
            return -1;
        }
    }
    size_t scheme = strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+.-");
    bool fits = scheme > 1 && word[scheme] == ':' && strstr(word, "{path}") != NULL;
    for (size_t i = 0; i < sizeof forbidden / sizeof *forbidden; i++)
        fits = fits && strncasecmp(word, forbidden[i], strlen(forbidden[i])) != 0;
    if (!fits)
        return hl_options_mistake(
            syntax,
            "--editor %s: neither an editor (vscode, vscodium, cursor, zed, idea, pycharm, sublime, "
            "textmate, emacs, none) nor an address with {path}, {line} and {column}",
            word);
    *template = word;
    return -1;
}

static int make_page(const hl_syntax *syntax, int argc, char **argv, const char *view)
{
    hl_page_options o = {.budget = HL_PAGE_BUDGET};
    int status = hl_options_parse(syntax, &argc, argv, &o);
    if (status < 0 && argc == 0)
        status = hl_options_mistake(syntax, "which profile? (name the file that heapline run wrote)");
    if (status < 0 && argc > 1)
        status = hl_options_mistake(syntax, "%s: one profile at a time%s", argv[1], " (--compare names the older one)");
    if (status < 0 && o.output && !*o.output)
        status = hl_options_mistake(syntax, "-o: the name of a file is missing");
    if (status < 0 && o.open && o.output && strcmp(o.output, "-") == 0)
        status = hl_options_mistake(syntax, "--open needs a file (-o - writes none)");
    if (status < 0 && o.no_source && o.private_source)
        status = hl_options_mistake(syntax, "--no-source and --private-source exclude each other");
    if (status < 0)
        status = choose_editor(syntax, o.editor, &o.editor);
    if (status >= 0)
        return status;
    signal(SIGPIPE, SIG_IGN); /* a pipe that closes early is told by write */
    hl_profile *profile = NULL;
    hl_model *model = NULL;
    status = open_profile(argv[0], &profile, &model);
    if (status == HL_EXIT_OK)
        status = hl_page_make(argv[0], model, view, "", &o);
    hl_model_release(model);
    hl_profile_close(profile);
    return status;
}

#define SET(field) HL_SETS(hl_page_options, field)
static const hl_option options[] = {
    {.name = "output",
     .letter = 'o',
     .kind = HL_OPTION_TEXT,
     .value = "FILE",
     .help = "where to write it, - for stdout (default: beside the profile, with .html for .heapline)",
     SET(output)},
    {.name = "force", .letter = 'f', .kind = HL_OPTION_FLAG, .help = "replace a file that is there", SET(force)},
    {.name = "open", .kind = HL_OPTION_FLAG, .help = "open it in the browser", SET(open)},
    {.name = "compare",
     .kind = HL_OPTION_TEXT,
     .value = "OLD",
     .help = "show what grew and shrank since this older profile; lines are found again after edits",
     SET(old)},
    {.name = "budget",
     .kind = HL_OPTION_SIZE,
     .value = "SIZE",
     .help = "how large the file may be (default 8MB, 0: any size); what is lightest is folded into \"(other)\"",
     SET(budget)},
    {.name = "no-source", .kind = HL_OPTION_FLAG, .help = "without the text of source files", SET(no_source)},
    {.name = "private-source",
     .kind = HL_OPTION_FLAG,
     .help = "with the text also of source files that others may not read",
     SET(private_source)},
    {.name = "editor",
     .kind = HL_OPTION_TEXT,
     .value = "NAME",
     .help = "which editor links to lines open: vscode (default), vscodium, cursor, zed, idea, pycharm, sublime, "
             "textmate, emacs, none, or an address with {path}, {line}, {column}",
     SET(editor)},
    {.name = "bundle", .kind = HL_OPTION_TEXT, .value = "FOLDER", .help = "", .hidden = true, SET(bundle)},
    {0},
};
#undef SET

int hl_cmd_report(int argc, char **argv)
{
    static const hl_syntax syntax = {.name = "report",
                                     .usage = "[options] PROFILE",
                                     .summary =
                                         "One HTML file that shows where the memory went: overview, timeline, flame "
                                         "graph, source, tables.",
                                     .options = options};
    return make_page(&syntax, argc, argv, "overview");
}

int hl_cmd_flamegraph(int argc, char **argv)
{
    static const hl_syntax syntax = {.name = "flamegraph",
                                     .usage = "[options] PROFILE",
                                     .summary = "The HTML report (heapline report), opened at its flame graph.",
                                     .options = options};
    return make_page(&syntax, argc, argv, "flame");
}
