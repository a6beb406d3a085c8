/*
 * process.c - processes and their images: how they appear, what they say of themselves, and how they end.
 *
 * A process slot that turns RUNNING is a new image. If its pid runs already, the image was put there by exec and the
 * process goes on. A child that its parent announced and that never registers is listed with the reason. Deaths are
 * noticed by pidfd, so a pid that is used again cannot be mistaken.
 */
#include "books.h"

#include "executable.h"
#include "number.h"
#include "profile.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SECOND UINT64_C(1000000000)
#define LARGEST_RSS (UINT64_C(1) << 50) /* what a program says may be anything */

/* ------------------------------------------------------------------------------------------------- notes and marks */

void hl_books_note(hl_books *books, uint32_t process, const char *text, size_t bytes)
{
    enum { MOST_NOTES = 1000 };
    for (uint32_t i = 0; i < books->note_count; i++) {
        if (books->notes[i].process == process && books->notes[i].text.bytes == bytes &&
            !memcmp(books->notes[i].text.at, text, bytes))
            return;
    }
    if (books->note_count >= MOST_NOTES)
        return;
    if (books->note_count == books->note_room) {
        books->note_room = books->note_room ? 2 * books->note_room : 16;
        books->notes = hl_resized(books->notes, books->note_room * sizeof *books->notes);
    }
    books->notes[books->note_count].process = process;
    books->notes[books->note_count++].text = hl_tree_text(&books->tree, text, (uint32_t)bytes);
}

void hl_books_mark(hl_books *books, uint32_t process, const char *kind, const char *name)
{
    enum { MOST_MARKS = 100000 };
    if (books->mark_count >= MOST_MARKS) {
        static const char text[] = "there were more than 100,000 marks: the later ones are not kept";
        hl_books_note(books, 0, text, sizeof text - 1); /* once */
        return;
    }
    if (books->mark_count == books->mark_room) {
        books->mark_room = books->mark_room ? 2 * books->mark_room : 16;
        books->marks = hl_resized(books->marks, books->mark_room * sizeof *books->marks);
    }
    books->marks[books->mark_count].time_ns = books->now_ns;
    books->marks[books->mark_count].process = process;
    books->marks[books->mark_count].kind = (hl_text){kind, (uint32_t)strlen(kind)};
    books->marks[books->mark_count++].name =
        *name ? hl_tree_text(&books->tree, name, (uint32_t)strlen(name)) : (hl_text){"", 0};
}

/* ------------------------------------------------------------------------------------------------------ the kernel */

static int open_pidfd(int32_t pid) { return (int)syscall(SYS_pidfd_open, pid, 0); }

/* How a reaped process ended, as a wait status. Linux 6.15 and later; the layout is uapi/linux/pidfd.h's first version. */
static bool exit_info(int pidfd, int32_t *wait_status)
{
    struct {
        uint64_t mask, cgroup;
        uint32_t ids[11];
        int32_t exit_code;
    } info = {.mask = 1u << 3 /* PIDFD_INFO_EXIT */};
    _Static_assert(sizeof info == 64, "PIDFD_INFO_SIZE_VER0");
    if (pidfd < 0 || ioctl(pidfd, _IOWR(0xFF, 11, info), &info) || !(info.mask & 1u << 3))
        return false;
    *wait_status = info.exit_code;
    return true;
}

/* When the process with this pid began, on the clock of CLOCK_MONOTONIC; 0: there is none. Precision: 10 ms. */
static uint64_t start_of(int32_t pid)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    char *at = strrchr(text, ')'); /* the name may hold anything */
    for (int field = 2; at && field < 22; field++)
        at = strchr(at + 1, ' ');
    if (!at)
        return 0;
    struct timespec boot, monotonic;
    clock_gettime(CLOCK_BOOTTIME, &boot);
    clock_gettime(CLOCK_MONOTONIC, &monotonic);
    int64_t offset = (int64_t)(boot.tv_sec - monotonic.tv_sec) * (int64_t)SECOND + boot.tv_nsec - monotonic.tv_nsec;
    int64_t since_boot = (int64_t)(strtoull(at + 1, NULL, 10) * (SECOND / (uint64_t)sysconf(_SC_CLK_TCK)));
    return since_boot > offset ? (uint64_t)(since_boot - offset) : 1;
}

static hl_text link_text(hl_books *books, int32_t pid, const char *which)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, which);
    ssize_t n = readlink(path, text, sizeof text);
    return n > 0 ? hl_tree_text(&books->tree, text, (uint32_t)n) : (hl_text){0};
}

static hl_text command_text(hl_books *books, int32_t pid)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/cmdline", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return (hl_text){0};
    ssize_t n = read(fd, text, sizeof text);
    close(fd);
    while (n > 0 && text[n - 1] == '\0')
        n--;
    for (ssize_t i = 0; i < n; i++) {
        if (text[i] == '\0')
            text[i] = ' ';
    }
    return n > 0 ? hl_tree_text(&books->tree, text, (uint32_t)n) : (hl_text){0};
}

/* ------------------------------------------------------------------------------------------------------- processes */

static hl_process *new_process(hl_books *books, int32_t pid)
{
    if (books->process_count == 1)
        hl_tree_peak_begin(books);
    if (books->process_count == books->process_room) {
        books->process_room = books->process_room ? 2 * books->process_room : 16;
        books->processes = hl_resized(books->processes, books->process_room * sizeof *books->processes);
    }
    hl_process *process = hl_zeroed(sizeof *process);
    books->processes[books->process_count++] = process;
    process->id = books->process_count;
    process->pid = pid;
    process->peak_number = 1;
    process->start_ns = books->now_ns;
    process->pidfd = open_pidfd(pid);
    process->status_fd = process->rollup_fd = -1;
    process->last_rss_kib = UINT32_MAX;
    process->changed = true;
    if (process->pidfd < 0 && errno == ESRCH)
        process->gone = true;
    else if (process->pidfd >= 0 && epoll_ctl(books->epoll, EPOLL_CTL_ADD, process->pidfd,
                                              &(struct epoll_event){.events = EPOLLIN, .data.u32 = process->id})) {
        close(process->pidfd); /* nobody would tell of its death: it is asked for by its pid instead */
        process->pidfd = -1;
    }
    process->gone_ns = books->now_ns;
    process->tree_seen = books->tree_number;
    hl_process_stamp(process);
    if (pid == (int32_t)books->session->root_pid)
        hl_oom_begin(&books->oom, pid);
    if (!process->gone)
        hl_sampler_begin(books, process);
    return process;
}

static hl_process *last_of_pid(hl_books *books, int32_t pid, const hl_process *but)
{
    for (uint32_t i = books->process_count; i-- > 0;) {
        if (books->processes[i]->pid == pid && books->processes[i] != but)
            return books->processes[i];
    }
    return NULL;
}

hl_process *hl_process_of_pid(hl_books *books, int32_t pid) { return last_of_pid(books, pid, NULL); }

static bool has_ended(const hl_process *process)
{
    return process->gone || (process->pidfd >= 0 && poll(&(struct pollfd){process->pidfd, POLLIN, 0}, 1, 0) == 1);
}

static void set_parent(hl_books *books, hl_process *process, const hl_process *parent, int32_t parent_pid)
{
    process->parent = parent ? parent->id : 0;
    process->parent_pid = parent_pid;
}

void hl_process_add_child(hl_books *books, hl_process *parent, int32_t pid, uint32_t born_by)
{
    hl_process *process = NULL;
    /* The child may have registered, and even ended, before its parent's word was read; of two lives the first. */
    for (uint32_t i = books->first_running; i < books->process_count && !process; i++) {
        hl_process *p = books->processes[i];
        if (p->pid == pid && !p->announced && !p->ended && p->parent == parent->id)
            process = p;
    }
    if (!process)
        process = hl_process_of_pid(books, pid);
    if (!process || process->announced || process == parent || (process->parent && process->parent != parent->id))
        process = new_process(books, pid);
    set_parent(books, process, parent, parent->pid);
    process->announced = true;
    process->changed = true;
    if (!process->born_by)
        process->born_by = born_by;
    if (born_by == HL_CHILD_FORK)
        hl_books_mark(books, process->id, "fork", "");
}

/* ---------------------------------------------------------------------------------------------------------- status */

/* A process died of SIGKILL. What became of the program itself is in the verdict, of others in a note. */
static void ask_for_memory(hl_books *books, const hl_process *process)
{
    char scope[1024], text[1200], limit[HL_NUMBER_BYTES];
    uint64_t limit_bytes;
    bool program = process->pid == (int32_t)books->session->root_pid;
    if ((program && books->oom_limit) || !hl_oom_happened(&books->oom, &limit_bytes, scope, sizeof scope))
        return;
    if (program) {
        books->oom_limit = limit_bytes;
        books->oom_scope = hl_tree_text(&books->tree, scope, (uint32_t)strlen(scope));
        return;
    }
    int bytes =
        snprintf(text, sizeof text, HL_NOTE_OOM "%s, limit %s)", scope, hl_size_text(limit, (int64_t)limit_bytes));
    hl_books_note(books, process->id, text, (size_t)bytes);
}

void hl_process_status(hl_books *books, hl_process *process, int32_t wait_status)
{
    process->status_known = true;
    process->changed = true;
    if (WIFSIGNALED(wait_status)) {
        process->ended = process->ended ? HL_ENDED_SIGNAL : process->ended;
        process->exit_status = WTERMSIG(wait_status);
        process->signalled = true;
        if (WTERMSIG(wait_status) == SIGKILL)
            ask_for_memory(books, process);
    } else {
        process->ended = process->ended ? HL_ENDED_EXIT : process->ended;
        process->exit_status = WEXITSTATUS(wait_status);
        process->signalled = false;
    }
}

/* It is gone, and so is what it had alive; what it did comes before what its parent does next. */
static void end_in_tree(hl_books *books, hl_process *process)
{
    for (hl_image *next;;) {
        next = NULL;
        for (uint32_t i = 0; i < books->image_slots; i++) {
            hl_image *image = books->images[i];
            if (image && image->process == process && !image->read_out && (!next || image->number < next->number))
                next = image;
        }
        if (!next)
            break;
        next->read_out = true;
        if (!hl_books_read_out(books, next))
            return;
    }
    hl_process_leave_tree(books, process);
}

void hl_process_waited(hl_books *books, hl_process *parent, int32_t pid, int32_t wait_status)
{
    if (!WIFEXITED(wait_status) && !WIFSIGNALED(wait_status))
        return;
    hl_processes_discover(books); /* it may have begun since the pass did */
    hl_process *process = NULL;
    for (uint32_t i = 0; i < books->process_count; i++) { /* of two lives of a pid, the first is waited for first */
        hl_process *p = books->processes[i];
        if (p->pid == pid && p->parent == parent->id && !p->status_known && p != parent) {
            process = p;
            break;
        }
    }
    if (process)
        end_in_tree(books, process);
    else
        process = hl_process_of_pid(books, pid);
    if (process && process != parent && !process->status_known)
        hl_process_status(books, process, wait_status);
}

/* Its images are read to the end: the row is closed. */
static void end_process(hl_books *books, hl_process *process)
{
    process->end_ns = books->now_ns;
    hl_process_leave_tree(books, process);
    hl_tick_close(books, process);
    hl_sampler_end(process);
    if (!process->status_known) {
        int32_t wait_status;
        if (exit_info(process->pidfd, &wait_status))
            hl_process_status(books, process, wait_status);
    }
    process->ended = process->status_known ? process->signalled ? HL_ENDED_SIGNAL : HL_ENDED_EXIT
                     : process->exit_seen  ? HL_ENDED_EXIT
                                           : HL_ENDED_LOST;
    process->changed = true;
    hl_books_mark(books, process->id, "exit", "");
}

/* ---------------------------------------------------------------------------------------------------------- images */

/* A text of a process slot: at most `room` bytes, NUL-terminated if the program keeps its word. */
static hl_text slot_text(hl_books *books, const char *text, size_t room, hl_text known)
{
    char copy[2048];
    memcpy(copy, text, room);
    size_t bytes = strnlen(copy, room);
    if (known.at && known.bytes == bytes && !memcmp(known.at, copy, bytes))
        return known;
    return hl_tree_text(&books->tree, copy, (uint32_t)bytes);
}

static void read_facts(hl_books *books, hl_image *image)
{
    hl_wire_process *slot = hl_session_process(books->session, image->slot);
    uint32_t facts = atomic_load(&slot->facts), version = atomic_load(&slot->text_version);
    hl_process *process = image->process;
    if (version & 1 || image->facts_read > 10000)
        return; /* being written; or a program that changes its texts for ever */
    hl_text executable = slot_text(books, slot->executable, sizeof slot->executable, process->executable);
    hl_text command = slot_text(books, slot->command, sizeof slot->command, process->command);
    hl_text reason = slot_text(books, slot->reason, sizeof slot->reason, process->reason);
    atomic_thread_fence(memory_order_acquire);
    if (atomic_load(&slot->text_version) != version)
        return;
    process->executable = executable;
    process->command = command;
    process->reason = reason;
    uint32_t recording = atomic_load(&slot->recording);
    process->recording = recording <= HL_RECORDING_OBJECTS ? recording : HL_RECORDING_NOTHING;
    process->python_version = atomic_load(&slot->python_version);
    process->python_flags = atomic_load(&slot->python_flags) & 7;
    process->changed = true;
    image->facts = facts;
    image->facts_read++;
}

/* Whether an image of it has seen its exit: what comes after that with the same pid is another process. */
static bool has_said_its_end(const hl_books *books, const hl_process *process)
{
    for (uint32_t i = 0; i < books->image_slots; i++) {
        const hl_image *image = books->images[i];
        if (image && image->process == process && !image->dead &&
            atomic_load(&hl_session_process(books->session, i)->state) == HL_PROCESS_EXITED)
            return true;
    }
    return process->exit_seen;
}

/* Nothing more comes from it; what it has alive is released when it has been read and what came before it, too. */
static void replace_image(hl_books *books, hl_image *image)
{
    books->replaced += !image->replaced;
    image->dead = image->replaced = true;
}

static void begin_image(hl_books *books, uint32_t slot_number)
{
    hl_wire_process *slot = hl_session_process(books->session, slot_number);
    int32_t pid = slot->pid, parent_pid = slot->parent_pid;
    uint32_t born_by = slot->born_by;
    if (pid <= 0 || born_by > HL_BORN_INSIDE)
        return;
    hl_process *process = hl_process_of_pid(books, pid);
    if (process && process->left) /* its parent has seen its end: the pid is another's */
        process = NULL;
    bool goes_on = process && !process->ended && !has_ended(process) &&
                   (born_by == 0 || (process->announced && !process->followed));
    if (!goes_on && process && !process->ended && process->announced && !process->followed && has_ended(process) &&
        process->parent_pid == parent_pid)
        goes_on = true; /* its parent's word came first, and it has ended already */
    if (!goes_on && process && !process->ended && process->followed && born_by == 0 &&
        process->parent_pid == parent_pid && !has_said_its_end(books, process))
        goes_on = true; /* forked, executed something and ended, all since the last pass */
    if (!goes_on) {
        process = new_process(books, pid);
        process->born_by = born_by;
        uint64_t began = start_of(pid);
        if (began == 0 || began > slot->start_ns + SECOND / 50) /* another process has the pid now */
            process->gone = true;
        set_parent(books, process, last_of_pid(books, parent_pid, process), parent_pid);
        process->start_ns = slot->start_ns > books->start_ns ? slot->start_ns - books->start_ns : 0;
    } else if (process->followed) {
        hl_books_mark(books, process->id, "exec", "");
    }
    hl_image *image = hl_zeroed(sizeof *image);
    image->process = process;
    image->number = ++books->image_number;
    image->slot = slot_number;
    image->base = slot->base;
    image->facts = atomic_load(&slot->facts) - 1;
    hl_live_init(&image->live);
    hl_names_init(&image->names, slot->seed);
    /* A forked child begins with its parent's pages, and they are its own; whatever exec replaced before the first image
     * was not this process as it is recorded (the command that starts it, the parent of a vfork). */
    uint64_t rss_before = slot->rss_before;
    if (!process->followed)
        process->rss_base = born_by == HL_CHILD_FORK ? 0 : rss_before;
    if (rss_before > process->rss_base && rss_before < LARGEST_RSS)
        hl_rss_reached(process, rss_before);
    process->followed = true;
    image->forked = born_by == HL_CHILD_FORK;
    process->images++;
    process->changed = true;
    books->images[slot_number] = image;
    books->image_count++;
    read_facts(books, image);
    hl_unseen_look(books, process);
    for (uint32_t i = 0; i < books->image_slots; i++) { /* also when the process's end has been seen since */
        hl_image *old = books->images[i];
        if (old && old->process == process && old->number < image->number)
            replace_image(books, old);
    }
}

/* Looks at all slots; adds those that have a new image to `fresh`, of which there are `count` already, in the order in which
 * the images began: slots are used again, and an exec comes after its fork. Returns how many there are then. */
static uint32_t find_fresh(hl_books *books, uint32_t *fresh, uint32_t count)
{
    uint32_t used = atomic_load(&books->session->processes_used), known = count;
    books->image_slots = used < HL_MAX_PROCESSES ? used : HL_MAX_PROCESSES;
    for (uint32_t i = 0; i < books->image_slots; i++) {
        hl_wire_process *slot = hl_session_process(books->session, i);
        hl_image *image = books->images[i];
        if (image) {
            if (atomic_load(&slot->facts) != image->facts)
                read_facts(books, image);
            continue;
        }
        uint32_t state = atomic_load_explicit(&slot->state, memory_order_acquire);
        if (state != HL_PROCESS_RUNNING && state != HL_PROCESS_EXITED)
            continue;
        bool found = false;
        for (uint32_t k = 0; k < known && !found; k++)
            found = fresh[k] == i;
        if (found)
            continue;
        fresh[count++] = i;
    }
    for (uint32_t k = known; k < count; k++) {
        uint32_t slot = fresh[k], at = k;
        uint64_t start_ns = hl_session_process(books->session, slot)->start_ns;
        for (; at > 0 && hl_session_process(books->session, fresh[at - 1])->start_ns > start_ns; at--)
            fresh[at] = fresh[at - 1];
        fresh[at] = slot;
    }
    return count;
}

void hl_processes_discover(hl_books *books)
{
    uint32_t fresh[HL_MAX_PROCESSES], count = 0, before;
    /* Again while there is something: what made it, and took a slot that had been passed already, comes before it. */
    do {
        before = count;
        count = find_fresh(books, fresh, count);
    } while (count != before);
    for (uint32_t k = 0; k < count; k++) {
        if (!books->images[fresh[k]]) /* reading out what the one before it replaced may have found it, too */
            begin_image(books, fresh[k]);
    }
}

/* The image has been read to its end. */
static void end_image(hl_books *books, hl_image *image)
{
    hl_process *process = image->process;
    hl_wire_process *slot = hl_session_process(books->session, image->slot);
    read_facts(books, image);
    process->lost += atomic_load(&slot->lost);
    uint64_t rss_peak = atomic_load(&slot->rss_peak);
    if (rss_peak < LARGEST_RSS)
        hl_rss_reached(process, rss_peak);
    if (atomic_load(&slot->state) == HL_PROCESS_EXITED && !process->status_known) {
        process->exit_seen = true;
        process->exit_status = atomic_load(&slot->exit_status) & 0xff;
    }
    if (image->replaced)
        hl_apply_release_all(books, image);
    if (image->names.collisions) {
        static const char text[] = "two call stacks had the same 59-bit name: what the later one allocated is counted "
                                   "under the earlier one";
        hl_books_note(books, process->id, text, sizeof text - 1);
    }
    hl_lines_end_image(books, image);
    hl_books_drop_image(books, image);
    books->images[image->slot] = NULL;
    books->image_count--;
    process->images--;
    process->changed = true;
    hl_live_release(&image->live);
    hl_maps_release(&image->maps);
    hl_names_release(&image->names);
    free(image);

    atomic_store(&slot->sync_done, atomic_load(&slot->sync_asked)); /* nobody is to wait for what does not come */
    atomic_store(&slot->order, 0);
    slot->pid = 0;
    atomic_store(&slot->facts, 0);
    atomic_store(&slot->text_version, 0);
    atomic_store(&slot->state, HL_PROCESS_FREE);
}

/* ---------------------------------------------------------------------------------------------------------- checks */

/* An exec that nobody registered after: the session's memory is no longer among the process's mappings. */
static bool session_is_mapped(int32_t pid)
{
    char path[64], line[512];
    snprintf(path, sizeof path, "/proc/%d/maps", pid);
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    bool found = false;
    while (!found && fgets(line, sizeof line, f))
        found = strstr(line, "/memfd:heapline") != NULL;
    fclose(f);
    return found;
}

static void check_exec(hl_books *books, hl_image *image)
{
    if (!image->exec_announced || image->dead || books->now_ns - image->exec_ns < SECOND)
        return;
    image->exec_announced = false;
    if (session_is_mapped(image->process->pid))
        return; /* it failed, or has not happened yet: then the process says so again, or dies */
    replace_image(books, image);
    hl_books_mark(books, image->process->id, "exec", "");
    image->process->recording = HL_RECORDING_NOTHING;
    image->process->executable = link_text(books, image->process->pid, "exe");
    image->process->command = command_text(books, image->process->pid);
    static const char text[] = "from some moment on it was another program, which is not followed";
    hl_books_note(books, image->process->id, text, sizeof text - 1);
}

static const char *not_loaded(const hl_books *books)
{
    return books->session->children == HL_CHILDREN_NONE
               ? "not recorded (--children=none)"
               : "it did not load libheapline.so, or found no way to the recording";
}

static bool is_in_other_pid_namespace(const hl_books *books, int32_t pid)
{
    char path[64];
    struct stat info;
    snprintf(path, sizeof path, "/proc/%d/ns/pid", pid);
    return books->session->pid_namespace && stat(path, &info) == 0 && info.st_ino != books->session->pid_namespace;
}

/* Why a child did not register, from what can be seen of it. */
static const char *reason_of(hl_books *books, int32_t pid)
{
    char path[64];
    if (is_in_other_pid_namespace(books, pid))
        return "it is in another pid namespace";
    snprintf(path, sizeof path, "/proc/%d/exe", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == EACCES || errno == EPERM ? "a setuid program, or one that lets nobody look at it"
                                                 : not_loaded(books);
    hl_unfit unfit = hl_executable_unfit(fd);
    close(fd);
    return unfit.why ? unfit.why : not_loaded(books);
}

/* A child that has not registered: what it is can be seen from outside, while it lives. */
static void look_at_stranger(hl_books *books, hl_process *process)
{
    uint64_t age_ns = books->now_ns - process->start_ns;
    if (process->followed || process->looked > 2 || age_ns < (SECOND / 100 << 2 * process->looked))
        return;
    process->looked++;
    if (process->born_by == HL_CHILD_FORK && process->looked <= 2)
        return; /* a copy of a program that is recorded registers itself, when it gets a processor */
    if (process->pid != (int32_t)books->session->root_pid || !process->reason.at) {
        const char *reason = reason_of(books, process->pid);
        process->reason = (hl_text){reason, (uint32_t)strlen(reason)};
    }
    hl_text executable = link_text(books, process->pid, "exe"), command = command_text(books, process->pid);
    if (executable.at)
        process->executable = executable;
    if (command.at)
        process->command = command;
    process->changed = true;
}

void hl_processes_add_root(hl_books *books, const char *reason)
{
    int32_t pid = (int32_t)books->session->root_pid;
    if (!pid || hl_process_of_pid(books, pid))
        return;
    hl_process *process = new_process(books, pid);
    process->announced = true; /* it may yet execute a program that registers */
    process->parent_pid = getppid();
    if (!reason)
        reason = reason_of(books, pid);
    process->reason = (hl_text){reason, (uint32_t)strlen(reason)};
    process->executable = link_text(books, pid, "exe");
    process->command = command_text(books, pid);
}

void hl_processes_check(hl_books *books)
{
    struct epoll_event events[64];
    for (int n; (n = epoll_wait(books->epoll, events, 64, 0)) > 0;) {
        for (int i = 0; i < n; i++) {
            hl_process *process = books->processes[events[i].data.u32 - 1];
            process->gone = true;
            process->gone_ns = books->now_ns;
            epoll_ctl(books->epoll, EPOLL_CTL_DEL, process->pidfd, NULL);
        }
    }
    for (uint32_t i = 0; i < books->image_slots; i++) {
        hl_image *image = books->images[i];
        if (!image)
            continue;
        if (image->dead) { /* the last pass has read it with no limit of epoch, if nothing is left */
            if (image->top == UINT64_MAX && hl_books_image_is_read(books, image))
                end_image(books, image);
        } else if (image->process->gone) {
            image->dead = true;
        } else {
            check_exec(books, image);
        }
    }
    for (uint32_t i = books->first_running; i < books->process_count; i++) {
        hl_process *process = books->processes[i];
        if (process->ended) {
            int32_t wait_status;
            if (!process->status_known && exit_info(process->pidfd, &wait_status))
                hl_process_status(books, process, wait_status);
            if (process->pidfd >= 0 && (process->status_known || books->now_ns - process->gone_ns > 5 * SECOND)) {
                close(process->pidfd);
                process->pidfd = -1;
            }
            if (i == books->first_running && process->pidfd < 0)
                books->first_running++;
            continue;
        }
        if (process->pidfd < 0 && !process->gone && kill(process->pid, 0) && errno == ESRCH)
            process->gone = true;
        if (process->gone && !process->images && !process->followed && !process->looked_for) {
            process->looked_for = true; /* it may have registered since the slots were last looked at */
        } else if (process->gone && !process->images) {
            if (!process->followed && !process->reason.at) {
                bool fork = process->born_by == HL_CHILD_FORK;
                const char *text =
                    fork ? "it ended before it had begun to record" : "it ended before it could be looked at";
                process->reason = (hl_text){text, (uint32_t)strlen(text)};
            }
            end_process(books, process);
        } else if (!process->gone) {
            look_at_stranger(books, process);
        }
    }
}
