package source

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestHalfAPolicyIsNotLoaded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := t.TempDir()
		data := func(text string) { put(t, filepath.Join(path, "data.yaml"), []byte(text)) }
		put(t, filepath.Join(path, "site.rego"), []byte(rego))
		data("frozen: [dev, prod]\n")
		d := &dir{path: path}
		load := func() (string, error) {
			c, err := d.Load(t.Context())
			if err != nil {
				return "", err
			}
			return fmt.Sprint(c.Data["frozen"]), nil
		}
		if got, err := load(); err != nil || got != "[dev prod]" {
			t.Fatal(got, err)
		}
		data("frozen: [dev]\n") // as far as it is written
		go func() {
			time.Sleep(readAgain / 2)
			data("frozen: [dev,") // not even YAML
			time.Sleep(readAgain)
			data("frozen: [dev, prod, shop]\n")
		}()
		begun := time.Now()
		if got, err := load(); err != nil || got != "[dev prod shop]" || time.Since(begun) != 3*readAgain {
			t.Errorf("%s, %v, after %v", got, err, time.Since(begun))
		}
		begun = time.Now()
		if got, err := load(); err != nil || got != "[dev prod shop]" || time.Since(begun) != 0 {
			t.Errorf("nothing changed: %s, %v, after %v", got, err, time.Since(begun))
		}
		data("frozen: [")
		if _, err := load(); err == nil || !strings.Contains(err.Error(), "data.yaml: line 1: is not YAML") {
			t.Errorf("a mistake that stays: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			time.Sleep(readAgain / 4) // never while it is read
			for i := 0; ctx.Err() == nil; i++ {
				data(fmt.Sprintf("frozen: [%d]\n", i))
				time.Sleep(readAgain / 2)
			}
		}()
		if got, err := load(); err == nil || !strings.Contains(err.Error(), path+" are changing") {
			t.Errorf("without rest: %s, %v", got, err)
		}
		cancel()
		if _, err := d.Load(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("ended: %v", err)
		}
		time.Sleep(readAgain) // the writer ends
	})
}
