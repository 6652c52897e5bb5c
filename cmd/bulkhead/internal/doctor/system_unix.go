//go:build unix

package doctor

import "golang.org/x/sys/unix"

// freeBytes is the space that an ordinary user can fill on the disk of path.
func freeBytes(path string) (uint64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return 0, err
	}
	return uint64(s.Bavail) * uint64(s.Bsize), nil
}

// openFiles is how many files a process may have open. Go raises the limit to the hard
// one, for itself and for the host.
func openFiles() (uint64, error) {
	var l unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l)
	return uint64(l.Max), err
}
