// Package child runs a part of this program in a child process, where it can be
// limited and stopped; the child is the same program, started again. The package
// starts, confines, watches and ends children. The package that defines a Role owns
// the child's work and its result.
//
// A child runs with lower priority, or only when no other process wants to, in its own
// process group, with an empty environment, only the descriptors it is given, and limits
// on CPU time, resident memory, file size and wall time; it ends with its parent. Address
// space is not limited: Go reserves far more than it uses.
//
// On other systems than Linux a child has a limit of wall time only, and it does not
// end with its parent.
package child
