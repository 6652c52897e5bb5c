package plane

import (
	"flag"
	stdlog "log"
	"os"

	"k8s.io/klog/v2"
)

// LogTo redirects the logs of the components and their libraries to one file, including output that they always write to
// standard error (klog's fatal stack traces, the warnings of etcd's client). When a component ends the process through klog,
// LogTo calls fatal instead.
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
