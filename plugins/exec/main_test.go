package main

import (
	_ "embed"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/sdktest"
)

//go:embed manifest.json
var manifest string

const pod = "/?cluster=dev&namespace=shop&pod=web-0"

func TestTheClientIsHandedToTheProcess(t *testing.T) {
	for query, want := range map[string]string{
		"": "exec://dev/shop/web-0?cols=80&command=%2Fbin%2Fsh&rows=24",
		"&container=app&command=sh&command=-c&command=exit+7&tty=true&cols=132&rows=50": "exec://dev/shop/web-0?cols=132&command=sh&command=-c&command=exit+7&container=app&rows=50&tty=true",
	} {
		h := sdktest.New(t, manifest)
		var asked []string
		h.Capability("exec", func(r *abi.Request) (*abi.Response, error) {
			asked = append(asked, r.Method+" "+r.URL)
			return &abi.Response{Status: 200}, nil
		})
		out := h.Session(sdktest.Request{Path: pod + query})
		if len(asked) != 1 || asked[0] != "GET "+want {
			t.Errorf("asked %q, want %q", asked, want)
		}
		if !out.Accepted || out.Spliced != 1 || out.Response != nil {
			t.Errorf("outcome %+v", out)
		}
	}
}

func TestBadInputIsRefusedBeforeTheUpgrade(t *testing.T) {
	for query, want := range map[string]string{
		"/":                                 "cluster is required",
		"/?cluster=dev&pod=web-0":           "namespace is required",
		"/?cluster=dev&namespace=shop":      "name is required",
		"/?cluster=d%2Fx&namespace=n&pod=p": `cluster "d/x" is not a name`,
		"/?cluster=d&namespace=..&pod=p":    `namespace ".." is not a name`,
		"/?cluster=d&namespace=n&pod=p%2Fq": `pod "p/q" is not a name`,
		pod + "&command=":                   "command must be 1 to 64 arguments, the first not empty",
		pod + "&tty=maybe":                  "tty must be true or false",
		pod + "&cols=0":                     "cols must be a number from 1 to 4096",
		pod + "&cols=wide":                  "cols must be a number from 1 to 4096",
		pod + "&rows=5000":                  "rows must be a number from 1 to 4096",
	} {
		h := sdktest.New(t, manifest)
		h.Capability("exec", func(*abi.Request) (*abi.Response, error) {
			t.Errorf("%s: a process was started", query)
			return &abi.Response{Status: 200}, nil
		})
		out := h.Session(sdktest.Request{Path: query})
		if out.Accepted || out.Response.Status != 400 || out.Response.Err.Message != want {
			t.Errorf("%s: got %+v %s, want %q", query, out, out.Response.Text(), want)
		}
	}
}

func TestARefusalOfTheHostIsPlainHTTP(t *testing.T) {
	for _, x := range []*abi.Error{
		{Code: abi.CodeForbidden, Origin: abi.OriginPolicy, Status: 403, Message: "forbidden"},
		{Code: abi.CodeNotFound, Origin: abi.OriginUpstream, Status: 404, Message: "no such pod"},
		{Code: abi.CodeUpstream, Origin: abi.OriginUpstream, Status: 502, Message: "upstream failed"},
	} {
		h := sdktest.New(t, manifest)
		h.Capability("exec", func(*abi.Request) (*abi.Response, error) { return nil, x })
		out := h.Session(sdktest.Request{Path: pod})
		if out.Accepted || out.Response.Status != x.Status || *out.Response.Err != *x {
			t.Errorf("%v became %+v", x, out.Response)
		}
	}
	out := sdktest.New(t, manifest).Session(sdktest.Request{Path: pod})
	if out.Accepted || out.Response.Status != 403 || out.Response.Err.Origin != abi.OriginGrant {
		t.Errorf("without the grant: %+v", out.Response)
	}
}
