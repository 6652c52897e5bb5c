// Package session keeps the table of everything that users have running: a
// websocket, an event stream, a plugin call. It exists so that ending is
// certain: once Ender.End has returned, nothing of the scope that was open keeps an
// effect, and nothing that the logout overtakes can open.
//
// A session ends on three clocks, in this order:
//
//  1. authority: one atomic flag that every host call, frame and upstream
//     request compares first;
//  2. streams: the functions given to OnEnd, which close connections from the
//     host's side;
//  3. the context, whose end stops the guest.
//
// Authority drops for all sessions concerned before the first stream is
// closed. Streams are closed side by side, so that one which hangs
// delays no other, and its own session's context only briefly.
//
// Authorization is continuous: a session depends on the decisions that allowed it
// (Hold). When policy or directory change, Redecide asks the same questions again
// and ends the sessions for which the answer is worse, and only these.
//
// The table is memory of this process; Publish shows its streams and long calls
// to other replicas. Whether a login is still good is
// host/state's knowledge, given to NewTable as a function; what a session's
// streams are, and when its work is over, is known to its opener, which
// must call Close.
package session
