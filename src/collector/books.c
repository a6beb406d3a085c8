/* books.c - the beginning and the end of the books. */
#include "books.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

void hl_books_init(hl_books *books, hl_session *session, uint32_t tick_ms)
{
    memset(books, 0, sizeof *books);
    books->session = session;
    books->epoll = epoll_create1(EPOLL_CLOEXEC);
    books->tick_ms = tick_ms;
    books->tree_number = 1;
    books->stacks_kept = 64 << 10;
    books->epoch = 1;
    books->chunk_held = hl_zeroed(session->chunks);
    books->memo = hl_zeroed(HL_MEMOS * sizeof *books->memo);
    hl_rows_init(&books->rows);
    hl_tree_init(&books->tree);
    hl_cells_init(&books->cells, tick_ms);
    hl_lines_init(&books->lines, session->chunks);
    books->threads = hl_zeroed(64 * sizeof *books->threads);
    books->thread_count = 1;
    books->thread_room = 64;
    books->groups = hl_zeroed(64 * sizeof *books->groups);
    books->group_count = 1;
    books->group_room = 64;
}

void hl_books_release(hl_books *books)
{
    for (uint32_t i = 0; i < books->active_count; i++) {
        hl_reader *reader = books->readers[books->active[i]];
        hl_lines_end_of_thread(books, reader);
        free(reader->unmapped.piece);
        free(reader->code);
        free(reader);
    }
    for (uint32_t i = 0; i < HL_MAX_PROCESSES; i++) {
        hl_image *image = books->images[i];
        if (!image)
            continue;
        hl_lines_release_image(books, image);
        hl_live_release(&image->live);
        hl_maps_release(&image->maps);
        hl_names_release(&image->names);
        free(image);
    }
    for (uint32_t i = 0; i < books->process_count; i++) {
        hl_process *process = books->processes[i];
        hl_sampler_end(process);
        hl_part_end(process);
        if (process->pidfd >= 0)
            close(process->pidfd);
        free(process->ticks);
        free(process);
    }
    free(books->processes);
    free(books->chunk_held);
    free(books->memo);
    hl_threads_release(books);
    free(books->threads);
    free(books->groups);
    free(books->notes);
    free(books->marks);
    free(books->pieces.piece);
    hl_rows_release(&books->rows);
    hl_tree_release(&books->tree);
    hl_cells_release(&books->cells);
    hl_lines_release(&books->lines);
    if (books->epoll >= 0)
        close(books->epoll);
}

void hl_books_new_epoch(hl_books *books)
{
    books->epoch++;
    for (uint32_t i = books->first_running; i < books->process_count; i++)
        hl_process_stamp(books->processes[i]);
}
