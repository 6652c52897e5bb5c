// Package kubelet is the part of a kubelet that the API server calls: exec, logs and port-forward, for every node of the
// cluster at once. It owns the local processes that `exec` starts and promises that none of them outlives its stream.
//
// kwok brings such a server too (its ClusterExec). It is not used, because in v0.8.0 it cannot keep the promises made
// here: its exec wraps the error of the command, so that the exit code is lost on the way to the client; it watches the
// context of a hijacked request, which nobody ends when the client goes away, so that the command lives on; and it lets
// anyone who reaches the port in. This one reports exit codes, kills the whole session of the command, and accepts only
// the API server's client certificate. kwok still plays the nodes and the pods (package nodes).
//
// Nothing is isolated: a "container" is a process of the user who runs the cluster, in a directory of its own.
package kubelet
