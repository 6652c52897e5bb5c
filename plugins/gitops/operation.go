package main

import (
	"strconv"

	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/helm"
)

const mostWait = 20 // seconds

// begun answers 202 with a change that goes on in the background, or 200 if it has ended.
func begun(o *helm.Operation, err error) (*sdk.Response, error) {
	if err != nil {
		return nil, err
	}
	status := 200
	if o.Status == "InProgress" {
		status = 202
	}
	return sdk.JSON(status, o)
}

// operation answers how a change in the background goes: 202 while it runs.
func operation(r *sdk.Request) (*sdk.Response, error) {
	cluster, namespace, release, err := oneRelease(r)
	if err != nil {
		return nil, err
	}
	id := r.Query("id")
	if id == "" {
		return nil, sdk.Errorf(400, "id is required")
	}
	wait := 0
	if text := r.Query("wait"); text != "" {
		if wait, err = strconv.Atoi(text); err != nil || wait < 0 || wait > mostWait {
			return nil, sdk.Errorf(400, "wait must be a number of seconds from 0 to %d", mostWait)
		}
	}
	return begun(cluster.Operation(namespace, release, id, wait))
}

type cancelBody struct {
	Release   string `json:"release"`
	Namespace string `json:"namespace"`
	Cluster   string `json:"cluster"`
	ID        string `json:"id"`
}

// cancel stops a change in the background that the person has begun.
func cancel(r *sdk.Request) (*sdk.Response, error) {
	var b cancelBody
	if err := r.JSON(&b); err != nil {
		return nil, err
	}
	if b.Release == "" || b.Namespace == "" || b.ID == "" {
		return nil, sdk.Errorf(400, "release, namespace, and id are required")
	}
	cluster, err := target(b.Cluster, b.Namespace, b.Release)
	if err != nil {
		return nil, err
	}
	return begun(cluster.Cancel(b.Namespace, b.Release, b.ID))
}
