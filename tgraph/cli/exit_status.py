"""The exit statuses of all commands."""

FINE = 0
DIFFERS = 1  # the command ran, and its answer is no: a check failed, graphs differ, a pass changes the result
BAD_INPUT = 2  # a usage error, a file or model that is not what it should be, a graph that cannot be compiled or run here
INTERNAL = 3  # an error of tgraph's own, shown with its traceback
INTERRUPTED = 130  # by Ctrl-C; this and the next two as shells have them
BROKEN_PIPE = 141  # whoever read the output has gone: tgraph dump ... | head
TERMINATED = 143  # by SIGTERM

MEANINGS = {
    FINE: "fine",
    DIFFERS: "the answer is no: a check failed, graphs differ, a rewrite changes the result",
    BAD_INPUT: "bad usage or input: an unknown option, a damaged file, a model that cannot be compiled or run here",
    INTERNAL: "an error of tgraph itself, with its traceback: please report it",
    INTERRUPTED: "interrupted by Ctrl-C",
    BROKEN_PIPE: "the reader of the output has gone (a closed pipe)",
    TERMINATED: "terminated by SIGTERM",
}
