// Package gateway is Bulkhead's HTTP surface: the one middleware chain that
// every request passes, the routes of the host itself, and the doors through
// which a plugin's routes are reached. It is the only user of mux and of
// websockets.
//
// Every request goes the same way: request id, panic boundary, bounds, refusal
// of ambiguous paths and foreign hosts, then (unless the route is one of the
// typed public ones) authentication, cross-site check, match, session,
// authorization, door. Handlers return errors; one place writes them.
//
// # How sockets and event streams end
//
// A socket ends with a close code and a reason. An event stream says the same in
// its last event, "end", as {"code": …, "reason": …}; unless the code is 1012,
// retry keeps browsers from asking for the stream again. A page that is done
// with a stream, or reads "end", calls close() on its EventSource.
//
//	1000        it is complete
//	1007, 1008  the client's message is malformed, or not for now (terminals)
//	1009        the client's message is too large
//	1011        the plugin, or what it called, failed
//	1012        the host restarts: open it again
//	4000        the plugin refuses: an error of its handler with a status 4xx
//	4001-4399   the plugin's own, as are 4600 to 4999
//	4401        not signed in any more: logged out, expired, ended by an administrator
//	4403        not permitted any more
//	4408        idle for too long, or at its time limit
//	4410        ended by its owner, from elsewhere
//
// 4400 to 4599 and 1012 are the host's: no plugin closes with them.
//
// A socket that is refused is an answer in plain HTTP, unless the query has
// bulkhead-refusal=close. Then it is opened and closed at once, because a browser
// shows a page nothing of the answer. The reason is the code that explains the
// refusal, such as reason_required, or the message:
//
//	4400        the request is malformed
//	4401        nobody is signed in
//	4403        not permitted
//	4404        there is no such plugin, route, pod
//	4409        the state does not allow it now
//	4413, 4422  too large; cannot be used
//	4429        too many
//	4503        try again later
//	1011        anything else failed
//
// Who somebody is belongs to host/authn, what they may to host/authz, what
// happens then to host/plugin. What is running is in host/session.
package gateway
