// Package http is the capability "http": requests to the operator's HTTP services, with
// credentials that only the host has.
//
//	METHOD https://SERVER/PATH?QUERY
//
// A service ("site") is an address of the configuration. A request belongs to the site with
// the longest address above its own; one that belongs to none is refused before anything is
// sent, so a plugin reaches no other server, and no address of the host's own network that
// the operator did not name. Redirects are not followed: the plugin gets them.
//
// Policy decides about every request before it is sent. It sees site, server, path and
// method; the methods GET, HEAD and OPTIONS read, and all others change something. A path
// has one spelling: what two servers could read differently is refused.
//
// The status of an answer, whatever it is, is the plugin's business. A server that cannot be
// reached or does not answer as it should is an error.
package http
