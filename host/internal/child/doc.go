// Package child runs a part of this program where it can be stopped and bounded:
// in a child process that is the same program started again. It owns how such a
// child is started, confined, watched and ended. What the child does, and what
// its answer means, belongs to the package that defines the Role.
//
// A child runs niced in a process group of its own, with an empty environment,
// no descriptors but those it is given, limits on CPU time, resident memory,
// size of files and wall time, and it dies with its parent. Address space is not
// limited: Go reserves far more than it touches.
//
// Outside Linux a child runs with its limit of wall time alone: CPU time and
// memory are not bounded, and it does not die with its parent.
package child
