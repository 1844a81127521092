package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Build builds a command of the project, "dirigo" or "ipvsadm", as it is shipped or with
// the race detector.
func Build(command, to string, race bool) error {
	args, cgo := []string{"build", "-o", to}, "CGO_ENABLED=0"
	if race {
		args, cgo = append(args, "-race"), "CGO_ENABLED=1"
	}
	cmd := exec.Command("go", append(args, "github.com/dirigo-lb/dirigo/cmd/"+command)...)
	cmd.Env = append(os.Environ(), cgo)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w: %s", command, err, out)
	}
	return nil
}

// Main is a TestMain for tests that run the built director: it builds that, tells where
// it is, runs the tests and removes it. Anybody may run the binary.
func Main(m *testing.M, binary *string) (code int) {
	dir, err := os.MkdirTemp("", "dirigo-test-")
	if err == nil {
		defer os.RemoveAll(dir)
		err = os.Chmod(dir, 0o755)
	}
	*binary = filepath.Join(dir, "dirigo")
	if err == nil {
		err = Build("dirigo", *binary, false)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}
