package abi

import "testing"

func TestAResponsesHeadersStayOnTheHost(t *testing.T) {
	for _, good := range []Pair{
		{"Location", "/api/probe/x?a=b:c"}, {"location", "x/y"}, {"Location", "?page=2"}, {"Location", "#a"}, {"Location", "./a:b"}, {"Location", "/a//b"},
		{"Link", `</api/probe/x?page=2>; rel="next"`}, {"LINK", `<?page=2>; rel="next", <?page=9>; rel=last`}, {"Link", `<?a>; title="<https://x>"`},
		{"X-Total-Count", "7"}, {"ETag", `"a"`}, {"retry-after", "3"}, {"Content-Range", "bytes 0-1/2"},
	} {
		if err := CheckOutbound(good.Name, good.Value); err != nil {
			t.Errorf("%v: %v", good, err)
		}
	}
	for _, bad := range []Pair{
		{"Location", "https://evil.example/"}, {"Location", "//evil.example"}, {"Location", `/\evil.example`}, {"Location", `\\evil.example`}, {"Location", "javascript:x"},
		{"Location", ""}, {"Location", " /x"}, {"Location", "/\t/evil.example"}, {"Location", "https:evil.example"}, {"Location", "/é"},
		{"Link", `<https://evil.example/>; rel="preconnect"`}, {"Link", `</a>; rel=next, <//evil.example>; rel=preload`}, {"Link", "/a"}, {"Link", ""}, {"Link", "</a"},
		{"Link", `</a>; title="x`},
		{"Set-Cookie", "bulkhead=x"}, {"Content-Security-Policy", "default-src *"}, {"Content-Length", "1"}, {"Transfer-Encoding", "chunked"}, {"X-Own", "1"},
		{"Access-Control-Allow-Origin", "*"}, {"Refresh", "0;url=/"}, {"X-Total-Count", "7\r\nSet-Cookie: a=b"}, {"Etag", "a\x00"}, {"Clear-Site-Data", "*"},
	} {
		if err := CheckOutbound(bad.Name, bad.Value); err == nil {
			t.Errorf("%q reaches the client", bad)
		}
	}
}
