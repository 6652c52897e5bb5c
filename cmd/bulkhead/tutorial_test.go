package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// What a new author types has to work as it stands, from an empty directory to a plugin that
// is published, signed and installed.
func TestTheTutorialWorks(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("left out: no curl")
	}
	text, err := os.ReadFile("../../sdk/docs/tutorial.md")
	if err != nil {
		t.Fatal(err)
	}
	s := newShell(t)
	commands := 0
	for _, block := range regexp.MustCompile("(?s)(?:`([a-z./_-]+)`:\n\n)?```([a-z]+)\n(.*?)```\n").FindAllStringSubmatch(string(text), -1) {
		file, language, content := block[1], block[2], strings.ReplaceAll(block[3], "127.0.0.1:8080", s.listen)
		switch {
		case file != "":
			s.write(file, content)
		case language == "sh":
			for line := range strings.Lines(content) {
				command, want, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "   # ")
				s.run(strings.TrimSpace(command), strings.TrimSpace(want))
				commands++
			}
		}
	}
	if commands < 20 {
		t.Errorf("the tutorial has %d commands", commands)
	}
}

// shell runs commands one after another, as a person would in one terminal.
type shell struct {
	t          *testing.T
	dir        string
	env        []string
	listen     string
	background *exec.Cmd
	output     *lines
}

func newShell(t *testing.T) *shell {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &shell{t: t, dir: t.TempDir(), listen: free.Addr().String()}
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	// The test binary stands for the program.
	bin, program := t.TempDir(), os.Args[0]
	if program, err = filepath.Abs(program); err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf("#!/bin/sh\nBULKHEAD_TEST_AS_PROGRAM=1 exec '%s' \"$@\"\n", program)
	if err := os.WriteFile(filepath.Join(bin, "bulkhead"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	s.env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "GOPROXY=off", "GOFLAGS=-mod=mod")
	t.Cleanup(s.stop)
	return s
}

func (s *shell) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// run runs a command whose output has to contain want. "stop" ends what runs in the
// background, as Ctrl-C would; "wait-for" waits for its output.
func (s *shell) run(command, want string) {
	s.t.Helper()
	switch {
	case strings.HasPrefix(command, "cd "):
		s.dir = filepath.Join(s.dir, strings.TrimPrefix(command, "cd "))
	case strings.HasPrefix(command, "export "):
		s.env = append(s.env, strings.TrimPrefix(command, "export "))
	case command == "stop":
		s.stop()
	case strings.HasPrefix(command, "wait-for "):
		s.output.wait(s.t, strings.Trim(strings.TrimPrefix(command, "wait-for "), `"`))
	case strings.HasSuffix(command, " &"):
		s.start(strings.TrimSuffix(command, " &"), want)
	default:
		cmd := exec.CommandContext(s.t.Context(), "sh", "-c", command)
		cmd.Dir, cmd.Env = s.dir, s.env
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			s.t.Fatalf("%s: %v\n%s\nwant %q\nin the background: %s", command, err, out, want, s.output)
		}
		if strings.Contains(command, "plugin new") {
			// Another process may have the tutorial's port.
			name := command[strings.LastIndex(command, " ")+1:]
			config := filepath.Join(s.dir, name, "dev/bulkhead.yaml")
			text, err := os.ReadFile(config)
			if err != nil {
				s.t.Fatal(err)
			}
			s.write(filepath.Join(name, "dev/bulkhead.yaml"), strings.ReplaceAll(string(text), "127.0.0.1:8080", s.listen))
		}
	}
}

func (s *shell) start(command, want string) {
	s.t.Helper()
	s.stop()
	cmd := exec.CommandContext(s.t.Context(), "sh", "-c", "exec "+command)
	s.output = &lines{written: make(chan struct{})}
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = s.dir, s.env, s.output, s.output
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.background = cmd
	s.output.wait(s.t, want)
}

func (s *shell) stop() {
	if s.background == nil {
		return
	}
	_ = s.background.Process.Signal(syscall.SIGINT) // Wait says what became of it
	if err := s.background.Wait(); err != nil {
		s.t.Errorf("%v: %v\n%s", s.background.Args, err, s.output)
	}
	s.background = nil
}

// lines is the output of what runs in the background.
type lines struct {
	mu      sync.Mutex
	text    bytes.Buffer
	written chan struct{}
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.written)
	l.written = make(chan struct{})
	return l.text.Write(p)
}

func (l *lines) String() string {
	if l == nil {
		return "nothing"
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *lines) wait(t *testing.T, want string) {
	t.Helper()
	for {
		l.mu.Lock()
		found, written := strings.Contains(l.text.String(), want), l.written
		l.mu.Unlock()
		if found {
			return
		}
		select {
		case <-written:
		case <-t.Context().Done():
			t.Fatalf("%q was not printed:\n%s", want, l)
		}
	}
}
