package abi_test

import (
	"fmt"

	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// A capability call and its answer, as they cross between plugin and host.
func ExampleDecodeReply() {
	call := abi.AppendRequest(nil, &abi.Request{Method: "GET", URL: "kube://dev/api/v1/namespaces"})
	r, err := abi.DecodeRequest(call)
	fmt.Println(r.URL, err)

	refusal := abi.AppendError(nil, &abi.Error{Code: abi.CodeForbidden, Origin: abi.OriginPolicy, Status: 403, Message: "not permitted"})
	_, err = abi.DecodeReply(refusal)
	fmt.Println(err)
	// Output:
	// kube://dev/api/v1/namespaces <nil>
	// policy: not permitted
}
