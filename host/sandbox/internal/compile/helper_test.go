package compile

import (
	"context"
	"fmt"
	"os"

	"github.com/tetratelabs/wazero"
)

// helper is what this test program does when a test starts it again: with
// "load" it loads a module and prints how many children that took; with "hang"
// it compiles what takes for ever, and prints the child.
func helper() {
	if len(os.Args) != 3 {
		return
	}
	switch os.Args[1] {
	case "load":
		exit(helpLoad(os.Args[2]))
	case "hang":
		exit(helpHang(os.Args[2]))
	}
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func helpLoad(dir string) error {
	c, err := New(Config{Dir: dir})
	if err != nil {
		return err
	}
	children := 0
	c.start = func(int) { children++ }
	wasm, err := os.ReadFile(dir + ".wasm")
	if err != nil {
		return err
	}
	a, err := asItIs(wasm)
	if err != nil {
		return err
	}
	defer a.Close()
	err = c.Load(context.Background(), a, func(dir string) error {
		_, err := run(dir, wasm, wazero.NewRuntimeConfigCompiler())
		return err
	})
	fmt.Println(children)
	return err
}

func helpHang(dir string) error {
	c, err := New(Config{Dir: dir})
	if err != nil {
		return err
	}
	c.start = func(pid int) { fmt.Println(pid) }
	a, err := asItIs(huge())
	if err != nil {
		return err
	}
	defer a.Close()
	return c.Load(context.Background(), a, func(string) error { return nil })
}
