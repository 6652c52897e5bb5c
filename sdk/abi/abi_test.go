package abi

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// document is ABI.md: the text under each heading, and the tables in it.
func document(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("ABI.md")
	if err != nil {
		t.Fatal(err)
	}
	sections, heading := map[string]string{}, ""
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			heading = strings.TrimSpace(strings.TrimLeft(line, "#"))
			continue
		}
		sections[heading] += line
	}
	return sections
}

// table returns the rows of the table whose first column has that title, without
// backquotes.
func table(t *testing.T, section, first string) (rows [][]string) {
	t.Helper()
	var in bool
	for line := range strings.Lines(section) {
		if !strings.HasPrefix(line, "|") {
			in = false
			continue
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.Trim(strings.TrimSpace(cells[i]), "`")
		}
		switch {
		case cells[0] == first:
			in = true
		case in && !strings.HasPrefix(cells[0], "---"):
			rows = append(rows, cells)
		}
	}
	if len(rows) == 0 {
		t.Fatalf("ABI.md has no table %q where it is expected", first)
	}
	return rows
}

// column returns two cells of each row, as "first second".
func column(rows [][]string, cells ...int) (out []string) {
	for _, r := range rows {
		var words []string
		for _, c := range cells {
			words = append(words, r[c])
		}
		out = append(out, strings.Join(words, " "))
	}
	return out
}

func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: ABI.md has\n%q, the code\n%q", what, got, want)
	}
}

func TestTheDocumentNamesExportsAndImports(t *testing.T) {
	doc := document(t)
	const entry = "(i32 i32) -> i64"
	same(t, "exports", column(table(t, doc["Exports"], "Export"), 0, 1), []string{
		ExportMemory + " memory", ExportAlloc + " (i32) -> i32", ExportStart + " " + entry, ExportHandle + " " + entry,
		ExportSession + " " + entry, ExportInitialize + " () ->", ExportHealth + " () -> i64", ExportRoutes + " () -> i64", ExportAllocations + " () -> i64",
	})
	capability := CapabilityModule("CAPABILITY")
	same(t, "imports", column(table(t, doc["Imports"], "Module"), 0, 1, 2), []string{
		ModuleABI + " " + ImportTake + " (i32 i32) -> i64",
		ModuleLog + " " + ImportWrite + " (i32 i32 i32) ->",
		ModuleLog + " " + ImportRecord + " (i32 i32 i32 i32 i32) ->",
		ModuleSession + " " + ImportNext + " (i32 i32 i32) -> i64",
		ModuleSession + " " + ImportSend + " (i32 i32) -> i32",
		ModuleSession + " " + ImportClose + " (i32 i32 i32) -> i32",
		ModuleSession + " " + ImportSplice + " (i32) -> i32",
		capability + " " + ImportFetch + " (i32 i32 i32 i32) -> i64",
		capability + " " + ImportOpen + " (i32 i32 i32 i32) -> i64",
	})
	if !strings.Contains(doc["Streams"], "`"+HeaderStream+"`") {
		t.Errorf("ABI.md does not name the header %s", HeaderStream)
	}
}

func TestTheDocumentNumbersKindsOriginsStatusesAndMessages(t *testing.T) {
	doc := document(t)
	for name, kind := range map[string]Kind{
		"Request": KindRequest, "Response": KindResponse, "Error": KindError, "Start": KindStart, "Message": KindMessage,
	} {
		if heading := fmt.Sprintf("%s, kind %d", name, kind); doc[heading] == "" {
			t.Errorf("ABI.md has no heading %q", heading)
		}
	}
	var origins []string
	for o := OriginPlugin; o <= OriginUpstream; o++ {
		origins = append(origins, fmt.Sprintf("%s %d", o, o))
	}
	same(t, "origins", column(table(t, doc["Errors"], "Origin"), 0, 1), origins)
	same(t, "statuses", column(table(t, doc["Sessions"], "Status"), 0, 1), []string{
		fmt.Sprint("ok ", int(StatusOK)), fmt.Sprint("closed ", int(StatusClosed)),
		fmt.Sprint("invalid ", int(StatusInvalid)), fmt.Sprint("refused ", int(StatusRefused)),
	})
	same(t, "messages", column(table(t, doc["Sessions"], "Message kind"), 0, 1), []string{
		fmt.Sprint("text ", MessageText), fmt.Sprint("binary ", MessageBinary), fmt.Sprint("close ", MessageClose), fmt.Sprint("idle ", MessageIdle), fmt.Sprint("event ", MessageEvent),
	})
}

func TestTheDocumentsCodesAreThoseOfTheirStatuses(t *testing.T) {
	own := []string{CodeNotGranted, CodeNoHandler, CodeStartFailed, CodeTrap}
	var codes []string
	for _, r := range table(t, document(t)["Errors"], "Code") {
		codes = append(codes, r[0])
		if status, err := strconv.Atoi(r[1]); err == nil && CodeOf(status) != r[0] {
			t.Errorf("status %d has code %q, ABI.md says %q", status, CodeOf(status), r[0])
		} else if err != nil && !slices.Contains(own, r[0]) {
			t.Errorf("ABI.md has no status for %q", r[0])
		}
	}
	for status := 400; status < 600; status++ {
		if !slices.Contains(codes, CodeOf(status)) {
			t.Errorf("ABI.md lacks code %q of status %d", CodeOf(status), status)
		}
	}
	for _, code := range own {
		if !slices.Contains(codes, code) {
			t.Errorf("ABI.md lacks code %q", code)
		}
	}
}

func TestTheDocumentsLimitsAreTheCodes(t *testing.T) {
	doc := document(t)
	limit := regexp.MustCompile(`at most (\d+)$`)
	got := map[string]string{}
	for _, r := range table(t, doc["Frames"], "Type") {
		if m := limit.FindStringSubmatch(r[1]); m != nil {
			got[r[0]] = m[1]
		}
	}
	for kind, want := range map[string]int{"string": MaxString, "bytes": MaxBody, "strings": MaxList, "pairs": MaxList, "headers": MaxHeaders} {
		if got[kind] != strconv.Itoa(want) {
			t.Errorf("ABI.md says that %s have at most %q, the code %d", kind, got[kind], want)
		}
	}
	if !strings.Contains(doc["Frames"], fmt.Sprintf("more than %d (`header`)", MaxFrame)) {
		t.Errorf("ABI.md does not say that a frame has at most %d bytes", MaxFrame)
	}
	same(t, "header", column(table(t, doc["Frames"], "Offset"), 0, 1, 2), []string{"0 1 version", "1 1 kind", "2 2 reserved", "4 4 length"})
}

func TestTheDocumentsCloseCodesAreThoseThatAPluginMayUse(t *testing.T) {
	m := regexp.MustCompile("`close` takes code (\\d+), (\\d+) to (\\d+) or (\\d+) to (\\d+),").FindStringSubmatch(document(t)["Sessions"])
	if m == nil {
		t.Fatal("ABI.md does not list the close codes")
	}
	var n [6]uint32
	for i := range n[1:] {
		v, _ := strconv.Atoi(m[i+1])
		n[i+1] = uint32(v)
	}
	for code := range uint32(6000) {
		listed := code == n[1] || code >= n[2] && code <= n[3] || code >= n[4] && code <= n[5]
		if MayClose(code) != listed {
			t.Errorf("code %d: the code says %v, ABI.md %v", code, MayClose(code), listed)
		}
	}
}

func TestTheDocumentListsTheHeadersThatCross(t *testing.T) {
	quoted := regexp.MustCompile("`([A-Z][A-Za-z-]+)`")
	in, out, _ := strings.Cut(document(t)["Headers"], "\n\nIt passes")
	out, _, _ = strings.Cut(out, ". `Location`")
	for text, want := range map[string][]string{in: InboundHeaders, out: OutboundHeaders} {
		var got []string
		for _, m := range quoted.FindAllStringSubmatch(text, -1) {
			got = append(got, m[1])
		}
		same(t, "headers", got, want)
	}
}

// Reading a golden frame by the document's tables meets its end exactly, and a
// frame that is cut where a field begins is refused with that field's name.
func TestTheDocumentsTablesReadTheGoldenFrames(t *testing.T) {
	doc := document(t)
	headings := map[Kind]string{
		KindRequest: "Request, kind 1", KindResponse: "Response, kind 2", KindError: "Error, kind 3",
		KindStart: "Start, kind 4", KindMessage: "Message, kind 5",
	}
	for _, g := range goldens {
		frame := readGolden(t, g.name)
		at := headerSize
		u32 := func() int { at += 4; return int(binary.LittleEndian.Uint32(frame[at-4:])) }
		text := func() { n := u32(); at += n }
		list := func(each int) {
			for n := u32() * each; n > 0; n-- {
				text()
			}
		}
		for _, r := range table(t, doc[headings[Kind(frame[1])]], "Field") {
			field := r[0]
			cut := slices.Clone(frame[:at])
			binary.LittleEndian.PutUint32(cut[4:], uint32(at))
			_, err := decode(cut)
			if x, ok := errors.AsType[*FrameError](err); !ok || x.Field != field {
				t.Errorf("%s: a frame that ends before %q is refused with %v", g.name, field, err)
			}
			begins := at
			switch r[1] {
			case "u8", "bool":
				at++
			case "u32":
				u32()
			case "i64":
				at += 8
			case "string", "bytes":
				text()
			case "strings":
				list(1)
			case "headers", "pairs":
				list(2)
			default:
				t.Fatalf("%s: field %q has the unknown type %q", g.name, field, r[1])
			}
			if field == "host section" && frame[begins] == 0 {
				break
			}
		}
		if at != len(frame) {
			t.Errorf("%s: by ABI.md the frame has %d bytes, it has %d", g.name, at, len(frame))
		}
	}
}
