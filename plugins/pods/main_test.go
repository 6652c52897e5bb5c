package main

import (
	_ "embed"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/sdktest"
)

//go:embed manifest.json
var manifest string

const place = "?cluster=dev&namespace=shop"

func TestTheClientIsHandedToTheHost(t *testing.T) {
	for path, want := range map[string]string{
		"/attach" + place + "&pod=web-0&container=app&cols=132&rows=50":                "pods://dev/shop/web-0/attach?cols=132&container=app&rows=50",
		"/logs" + place + "&pod=web-0":                                                 "pods://dev/shop/web-0/log",
		"/logs" + place + "&selector=app%3Dweb&follow=true&tail=10&match=err&since=1h": "pods://dev/shop/log?follow=true&match=err&selector=app%3Dweb&since=1h&tail=10",
		"/logs" + place + "&owner=deployments.apps/web&previous=true&container=a":      "pods://dev/shop/log?container=a&owner=deployments.apps%2Fweb&previous=true",
		"/port" + place + "&pod=web-0&port=80":                                         "pods://dev/shop/web-0/portforward?port=80",
		"/port" + place + "&service=web&port=http":                                     "pods://dev/shop/portforward?port=http&service=web",
		"/files" + place + "&pod=web-0&path=/etc":                                      "pods://dev/shop/web-0/list?path=%2Fetc",
		"/download" + place + "&pod=web-0&path=/etc/a&container=b":                     "pods://dev/shop/web-0/download?container=b&offset=0&path=%2Fetc%2Fa",
		"/upload" + place + "&pod=web-0&path=/tmp/a&size=3&sha256=00":                  "pods://dev/shop/web-0/upload?path=%2Ftmp%2Fa&sha256=00&size=3",
	} {
		h := sdktest.New(t, manifest)
		var asked []string
		h.Capability("pods", func(r *abi.Request) (*abi.Response, error) {
			asked = append(asked, r.Method+" "+r.URL)
			return &abi.Response{Status: 200}, nil
		})
		out := h.Session(sdktest.Request{Path: path})
		if len(asked) != 1 || asked[0] != "GET "+want {
			t.Errorf("%s: asked %q, want %q", path, asked, want)
		}
		if !out.Accepted || out.Spliced != 1 || out.Response != nil {
			t.Errorf("%s: outcome %+v", path, out)
		}
	}
}

func TestBadInputIsRefusedBeforeTheUpgrade(t *testing.T) {
	for path, want := range map[string]string{
		"/attach" + place:                            "name is required",
		"/attach" + place + "&pod=p&cols=0":          "cols must be a number from 1 to 4096",
		"/logs?cluster=dev":                          "namespace is required",
		"/logs" + place + "&pod=p&follow=maybe":      "follow must be true or false",
		"/upload" + place + "&pod=p&path=/a":         "size is required",
		"/port" + place + "&port=80":                 "pod or service is required",
		"/port" + place + "&pod=p&service=s&port=80": "exactly one of pod and service is required",
	} {
		h := sdktest.New(t, manifest)
		h.Capability("pods", func(*abi.Request) (*abi.Response, error) {
			t.Errorf("%s: a stream was opened", path)
			return &abi.Response{Status: 200}, nil
		})
		out := h.Session(sdktest.Request{Path: path})
		if out.Accepted || out.Response.Status != 400 || out.Response.Err.Message != want {
			t.Errorf("%s: got %+v, want %q", path, out.Response, want)
		}
	}
}

func TestARefusalOfTheHostIsPlainHTTP(t *testing.T) {
	x := &abi.Error{Code: abi.CodeForbidden, Origin: abi.OriginPolicy, Status: 403, Message: "forbidden"}
	h := sdktest.New(t, manifest)
	h.Capability("pods", func(*abi.Request) (*abi.Response, error) { return nil, x })
	out := h.Session(sdktest.Request{Path: "/logs" + place + "&pod=web-0"})
	if out.Accepted || out.Response.Status != 403 || *out.Response.Err != *x {
		t.Errorf("became %+v", out.Response)
	}
}
