package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// machine names where and when a run was made: figures mean nothing without it.
type machine struct {
	CPU     string    `json:"cpu"`
	CPUs    int       `json:"cpus"`
	Virtual bool      `json:"virtual"` // under a hypervisor
	Memory  int       `json:"memory_mib"`
	Kernel  string    `json:"kernel"`
	Go      string    `json:"go"`
	Source  string    `json:"source"` // git describe; "" without git
	Date    time.Time `json:"date"`
	Busy    float64   `json:"busy_cpus"` // before the run: other work
}

// thisMachine looks around for a second.
func thisMachine() (machine, error) {
	m := machine{CPUs: runtime.NumCPU(), Go: runtime.Version(), Date: time.Now().UTC().Truncate(time.Second)}
	cpu, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return m, err
	}
	m.CPU, m.Virtual = cpuInfo(string(cpu))
	var si unix.Sysinfo_t
	var un unix.Utsname
	if err := unix.Sysinfo(&si); err != nil {
		return m, fmt.Errorf("sysinfo: %w", err)
	}
	if err := unix.Uname(&un); err != nil {
		return m, fmt.Errorf("uname: %w", err)
	}
	m.Memory = int(uint64(si.Totalram) * uint64(si.Unit) >> 20)
	m.Kernel = string(bytes.TrimRight(un.Release[:], "\x00"))
	if out, err := exec.Command("git", "describe", "--tags", "--always", "--dirty").Output(); err == nil {
		m.Source = strings.TrimSpace(string(out))
	}
	before, err := readUsage(nil)
	if err != nil {
		return m, err
	}
	time.Sleep(time.Second)
	after, err := readUsage(nil)
	_, m.Busy, _ = after.since(before)
	return m, err
}

// cpuInfo reads /proc/cpuinfo: the model's name, if there is one, and whether the flags
// tell of a hypervisor.
func cpuInfo(text string) (model string, virtual bool) {
	model = runtime.GOARCH
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(line, ":")
		switch strings.TrimSpace(key) {
		case "model name":
			model = strings.TrimSpace(value)
		case "flags":
			virtual = slices.Contains(strings.Fields(value), "hypervisor")
		}
	}
	return model, virtual
}

func (m machine) String() string {
	kind := ""
	if m.Virtual {
		kind = ", a virtual machine"
	}
	s := fmt.Sprintf("%s, %d CPUs%s, %.0f GiB; Linux %s; %s", m.CPU, m.CPUs, kind, float64(m.Memory)/1024, m.Kernel, m.Go)
	if m.Source != "" {
		s += "; source " + m.Source
	}
	return s + "; " + m.Date.Format("2006-01-02 15:04 UTC")
}
