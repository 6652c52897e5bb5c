// Terminal is a small client of the exec plugin: it signs in with the dev login
// method, opens /ws/exec with the subprotocol bulkhead.exec.v1, and connects it to
// the terminal it runs in. It shows console teams the steps of a terminal in the
// browser. See README.md.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"github.com/gorilla/websocket"
	"golang.org/x/term"
)

func main() {
	base := flag.String("url", "http://127.0.0.1:8080", "the host")
	user := flag.String("user", "eve@example.com", "who to sign in as")
	cluster := flag.String("cluster", "dev", "cluster")
	namespace := flag.String("namespace", "shop", "namespace")
	pod := flag.String("pod", "db-0", "pod")
	reason := flag.String("reason", "", "why, for permissions that break glass")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: terminal [flags] [command [argument …]]\nRuns a command (default sh) in a pod through a Bulkhead host.")
		flag.PrintDefaults()
	}
	flag.Parse()
	query := url.Values{"cluster": {*cluster}, "namespace": {*namespace}, "pod": {*pod}, "command": flag.Args()}
	if *reason != "" {
		query.Set("bulkhead-reason", *reason)
	}
	code, err := run(*base, *user, query)
	if err != nil {
		fmt.Fprintln(os.Stderr, "terminal:", err)
		os.Exit(1)
	}
	os.Exit(code)
}

// run returns the remote command's exit code.
func run(base, user string, query url.Values) (code int, err error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return 0, err
	}
	if err := signIn(&http.Client{Jar: jar}, base, user); err != nil {
		return 0, err
	}
	stdin := int(os.Stdin.Fd())
	tty := term.IsTerminal(stdin)
	if tty {
		query.Set("tty", "true")
		old, err := term.MakeRaw(stdin)
		if err != nil {
			return 0, err
		}
		defer term.Restore(stdin, old)
	}
	dialer := websocket.Dialer{Jar: jar, Subprotocols: []string{"bulkhead.exec.v1"}}
	conn, resp, err := dialer.Dial("ws"+strings.TrimPrefix(base, "http")+"/ws/exec?"+query.Encode(), nil)
	if err != nil {
		return 0, refusal(resp, err)
	}
	defer conn.Close()
	s := &shell{conn: conn}
	if tty {
		go s.followSize(stdin)
	}
	go s.input()
	return s.output()
}

func signIn(client *http.Client, base, user string) error {
	body, err := json.Marshal(map[string]string{"user": user})
	if err != nil {
		return err
	}
	resp, err := client.Post(base+"/auth/login", "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return refusal(resp, errors.New("sign-in failed"))
	}
	return nil
}

// refusal returns the host's HTTP answer as an error.
func refusal(resp *http.Response, err error) error {
	if resp == nil {
		return err
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10)) // a partial body is better than none
	return fmt.Errorf("%s: %s", resp.Status, bytes.TrimSpace(text))
}

// shell is the socket. Several goroutines write, one at a time.
type shell struct {
	conn *websocket.Conn
	mu   sync.Mutex
}

func (s *shell) write(kind int, data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn.WriteMessage(kind, data)
}

// input sends standard input; each message begins with the number of its channel.
func (s *shell) input() {
	buf := make([]byte, 1+32<<10) // buf[0] is 0: standard input
	for {
		n, err := os.Stdin.Read(buf[1:])
		if n > 0 && s.write(websocket.BinaryMessage, buf[:1+n]) != nil {
			return
		}
		if err != nil {
			_ = s.write(websocket.TextMessage, []byte(`{"type":"eof"}`)) // if it fails, output reports why
			return
		}
	}
}

// followSize sends the size of the terminal, now and whenever it changes.
func (s *shell) followSize(fd int) {
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, syscall.SIGWINCH)
	for {
		cols, rows, err := term.GetSize(fd)
		if err == nil && cols == 0 { // a terminal without a window
			cols, rows = 80, 24
		}
		if err != nil || s.write(websocket.TextMessage, fmt.Appendf(nil, `{"type":"resize","cols":%d,"rows":%d}`, cols, rows)) != nil {
			return
		}
		<-changed
	}
}

// output prints until the command's exit code or the socket's end.
func (s *shell) output() (int, error) {
	for {
		kind, data, err := s.conn.ReadMessage()
		if closed, ok := errors.AsType[*websocket.CloseError](err); ok {
			return 0, fmt.Errorf("closed: %s (%d)", closed.Text, closed.Code)
		}
		if err != nil {
			return 0, err
		}
		if kind == websocket.BinaryMessage && len(data) > 0 {
			out := os.Stdout
			if data[0] == 2 {
				out = os.Stderr
			}
			if _, err := out.Write(data[1:]); err != nil {
				return 0, err
			}
			continue
		}
		var m struct {
			Type, Error string
			Recorded    bool
			ExitCode    int
		}
		if err := json.Unmarshal(data, &m); err != nil {
			return 0, fmt.Errorf("control message %q: %w", data, err)
		}
		switch m.Type {
		case "started":
			if m.Recorded {
				fmt.Fprint(os.Stderr, "this terminal is recorded\r\n")
			}
		case "exit":
			return m.ExitCode, nil
		case "error":
			return 0, errors.New(m.Error)
		}
	}
}
