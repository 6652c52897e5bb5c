package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/seed-a3fb47d6/bulkhead/cmd/bulkhead/internal/remote"
	"github.com/seed-a3fb47d6/bulkhead/host/server"
	"github.com/spf13/cobra"
)

// connection has the flags that select the host of a command.
type connection struct {
	config, host, tokenFile *string
}

// connectionFlags adds the flags to a command and all below it.
func connectionFlags(c *cobra.Command) connection {
	f := c.PersistentFlags()
	return connection{
		config:    f.StringP("config", "c", "bulkhead.yaml", "configuration of the host on this machine, whose admin socket is used"),
		host:      f.String("host", "", "URL of another host; sign in with bulkhead login first, or give --token-file"),
		tokenFile: f.String("token-file", "", "file with a bearer token for --host"),
	}
}

// foundHost says in help which host open returns.
const foundHost = `
The host is the one on this machine, found by --config and asked over its admin
socket as the operator, or the one of --host, asked as the user of bulkhead login
or --token-file.
`

// open returns the host: the one of --host, or the one on this machine.
func (f connection) open() (*remote.Client, error) {
	if *f.host == "" {
		if *f.tokenFile != "" {
			return nil, errors.New("--token-file is for another host; give --host, too")
		}
		loaded, err := server.Load(*f.config, os.Environ())
		if err != nil {
			return nil, err
		}
		return remote.Local(loaded.Data), nil
	}
	if *f.tokenFile != "" {
		return remote.WithTokenFile(*f.host, *f.tokenFile)
	}
	logins, err := remote.DefaultLogins()
	if err != nil {
		return nil, fmt.Errorf("the file of logins: %w", err)
	}
	return logins.Client(*f.host)
}
