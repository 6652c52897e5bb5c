package plane

import (
	"flag"
	stdlog "log"
	"os"

	"k8s.io/klog/v2"
)

// LogTo sends what the components and their libraries log to one file, also what they insist on printing to standard error
// (klog its fatal stack traces, etcd's client its warnings), and calls fatal instead of ending the process
// when a component gives up by way of klog.
func LogTo(file *os.File, fatal func()) {
	fs := flag.NewFlagSet("klog", flag.PanicOnError)
	klog.InitFlags(fs)
	for name, value := range map[string]string{
		"logtostderr": "false", "alsologtostderr": "false", "stderrthreshold": "FATAL", "one_output": "true",
	} {
		if err := fs.Set(name, value); err != nil {
			panic(err)
		}
	}
	klog.SetOutput(file)
	klog.OsExit = func(int) { fatal() }
	stdlog.SetOutput(file)
	os.Stderr = file
}
