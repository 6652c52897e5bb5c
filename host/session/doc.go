// Package session keeps the table of all running work of users: websockets, event
// streams and plugin calls. It makes ending certain: once Ender.End has returned, no
// session of the scope has an effect any longer, and no request that the logout overtook
// can open one.
//
// A session ends in three steps, in this order:
//
//  1. authority: one atomic flag that every host call, frame and upstream request
//     checks first;
//  2. streams: the functions given to OnEnd, which close connections from the host's
//     side;
//  3. the context, whose end stops the guest.
//
// All sessions of a scope lose their authority before the first stream is closed.
// Streams are closed concurrently, so that a stream that hangs delays no other session,
// and its own session's context only briefly.
//
// Authorization is continuous: a session depends on the decisions that allowed it (Hold).
// When policy or directory change, Redecide asks the same questions again and ends the
// sessions that are no longer permitted, and only these.
//
// The table is in the memory of this process; Publish shows its streams and long calls
// to other replicas. host/state knows whether a login is valid, and NewTable gets it as a
// function. The opener of a session knows its streams and when its work is done, and must
// call Close.
package session
