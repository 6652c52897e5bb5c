package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/cmd/bulkhead/internal/remote"
	"github.com/spf13/cobra"
)

func loginCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "login URL",
		Short: "Sign in to a host on another machine, in the browser",
		Long: `Sign in to a host on another machine, for the commands with --host. The browser opens
a page of the host, where you sign in as always and allow this program; the page
and the terminal show the same short check. The program gets a login of its own,
which ends with the browser's login, after the host's time without use, or with
bulkhead logout.

The token is kept in bulkhead/logins.json below your configuration directory, for
you alone (mode 0600), and is renewed while it is used.

With --no-browser, on a machine without one: open the address anywhere, and copy
the code that the page shows into the terminal.

Exit codes: 0 signed in, 1 the sign-in failed, 2 the URL cannot be used.`,
		Example: "  bulkhead login https://console.example.com\n  bulkhead login https://console.example.com --no-browser",
		Args:    cobra.ExactArgs(1),
	}
	manual := c.Flags().Bool("no-browser", false, "do not open a browser; ask for the code that the page shows")
	c.RunE = func(c *cobra.Command, args []string) error {
		logins, err := remote.DefaultLogins()
		if err != nil {
			return err
		}
		s := remote.SignIn{Open: func(address, check string) {
			fmt.Fprintf(c.ErrOrStderr(), "Open this address, and allow the sign-in if the page shows %s:\n\n  %s\n\n", check, address)
			if !*manual {
				openBrowser(c.Context(), address)
			}
		}}
		if *manual {
			s.Code = func(ctx context.Context) (string, error) {
				fmt.Fprint(c.ErrOrStderr(), "Code: ")
				return readLine(ctx, bufio.NewReader(c.InOrStdin()))
			}
		}
		login, err := logins.SignIn(c.Context(), args[0], s)
		if err != nil {
			return &runError{err}
		}
		fmt.Fprintf(c.OutOrStdout(), "signed in at %s as %s, until %s\n", login.URL, plain(login.User), login.Until.Local().Format(time.RFC3339))
		return nil
	}
	return c
}

func logoutCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "logout URL",
		Short:   "End this program's login at a host, and forget its token",
		Example: "  bulkhead logout https://console.example.com",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			logins, err := remote.DefaultLogins()
			if err != nil {
				return err
			}
			if err := logins.SignOut(c.Context(), args[0]); err != nil {
				return &runError{err}
			}
			fmt.Fprintln(c.OutOrStdout(), "signed out")
			return nil
		},
	}
}

// openBrowser tries to; the address is on the terminal anyway.
func openBrowser(ctx context.Context, address string) {
	name := "xdg-open"
	if runtime.GOOS == "darwin" {
		name = "open"
	}
	if _, err := exec.LookPath(name); err == nil {
		cmd := exec.CommandContext(ctx, name, address)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = nil, nil, nil
		if cmd.Start() == nil {
			go func() { _ = cmd.Wait() }()
		}
	}
}

// maxLine bounds what a user types or pastes.
const maxLine = 16 << 10

// readLine reads one line of the user's.
func readLine(ctx context.Context, in *bufio.Reader) (string, error) {
	type read struct {
		line string
		err  error
	}
	lines := make(chan read, 1)
	go func() {
		line, err := in.ReadString('\n')
		lines <- read{line, err}
	}()
	select {
	case r := <-lines:
		line := strings.TrimSpace(r.line)
		switch {
		case line == "" && r.err != nil:
			return "", errors.New("nothing was entered")
		case len(line) > maxLine:
			return "", fmt.Errorf("more than %d characters were entered", maxLine)
		}
		return line, nil
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}
