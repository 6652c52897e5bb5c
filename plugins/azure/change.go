package main

import (
	"strconv"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/azure"
)

const maxWait = 20 // seconds, for a change to end

// shownChange is the state of a change.
type shownChange struct {
	Status          string             `json:"status"`       // InProgress, Succeeded, Failed, Canceled
	ID              string             `json:"id,omitempty"` // for GET changes, while it is in progress
	Target          azure.ChangeTarget `json:"target"`
	StartTime       string             `json:"startTime,omitempty"`
	EndTime         string             `json:"endTime,omitempty"`
	PercentComplete *float64           `json:"percentComplete,omitempty"`
	RetryAfter      int                `json:"retryAfter,omitempty"` // seconds
	Error           *azure.ChangeError `json:"error,omitempty"`
}

// change makes the handler that begins a change of a resource.
func change(t azure.Type, key string, v azure.Verb) func(*sdk.Request) (*sdk.Response, error) {
	return func(r *sdk.Request) (*sdk.Response, error) {
		return begun(instanceOf(r).Change(resourceOf(r, t, key), v))
	}
}

func restartScaleSetVM(r *sdk.Request) (*sdk.Response, error) {
	vm := r.Query("virtualMachine")
	if vm == "" {
		return nil, sdk.Errorf(400, "virtualMachine is required")
	}
	return begun(instanceOf(r).RestartScaleSetVM(resourceOf(r, azure.ScaleSets, "virtualMachineScaleSet"), vm))
}

// begun answers 202 while the change goes on, and 200 if it is over already.
func begun(c *azure.Change, err error) (*sdk.Response, error) {
	if err != nil {
		return nil, err
	}
	code := 200
	if c.Status == "InProgress" {
		code = 202
	}
	return answer(code, c)
}

func answer(code int, c *azure.Change) (*sdk.Response, error) {
	resp, err := sdk.JSON(code, shownChange{
		Status: c.Status, ID: c.ID, Target: c.Target, StartTime: c.StartTime, EndTime: c.EndTime,
		PercentComplete: c.PercentComplete, RetryAfter: c.RetryAfter, Error: c.Error,
	})
	if err == nil && c.RetryAfter > 0 {
		resp.With("Retry-After", strconv.Itoa(c.RetryAfter))
	}
	return resp, err
}

// changeState answers how a change stands, after some seconds of waiting for
// its end if the request asks for that.
func changeState(r *sdk.Request) (*sdk.Response, error) {
	wait, err := r.Int("wait", 0, 0, maxWait) // seconds
	if err != nil {
		return nil, err
	}
	c, err := instanceOf(r).State(r.Query("id"), time.Duration(wait)*time.Second)
	if err != nil {
		return nil, err
	}
	return answer(200, c)
}
