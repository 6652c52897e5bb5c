// Package kubelet is the part of a kubelet that the API server calls: exec, logs and port-forward, for every node of the
// cluster at once. It owns the local processes that `exec` starts and promises that none of them outlives its stream.
//
// kwok has such a server too (its ClusterExec). It is not used, because v0.8.0 has three problems: its exec wraps the error
// of the command, so that the client does not get the exit code; it watches the context of a hijacked request, which does not
// end when the client disconnects, so that the command continues; and it accepts any client that reaches the port. This server
// reports exit codes, kills the whole session of the command, and accepts only the API server's client certificate. kwok still
// simulates the nodes and the pods (package nodes).
//
// Nothing is isolated: a "container" is a process of the user who runs the cluster, in its own directory.
package kubelet
