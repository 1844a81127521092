package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/dirigo-lb/dirigo/test/lab"
)

// userHZ is what /proc counts CPU time in (USER_HZ of the kernel's ABI).
const userHZ = 100

// usage is a reading of CPU clocks.
type usage struct {
	at              time.Time
	process         float64 // seconds of the forwarder's process; 0 if it is none
	machine, stolen float64 // seconds of all CPUs: busy, and wanted but not given by the host
}

// readUsage reads the clocks of the machine and of p, which may be nil.
func readUsage(p *lab.Proc) (u usage, err error) {
	u.at = time.Now()
	if p != nil {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID()))
		if err != nil {
			return u, err
		}
		if u.process, err = processSeconds(string(b)); err != nil {
			return u, err
		}
	}
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return u, err
	}
	u.machine, u.stolen, err = machineSeconds(string(b))
	return u, err
}

// processSeconds is utime + stime of /proc/PID/stat: fields 14 and 15 of proc(5).
func processSeconds(stat string) (float64, error) {
	// The second field is the command's name in brackets and may hold spaces.
	f := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(f) < 13 {
		return 0, fmt.Errorf("/proc/PID/stat: %q", stat)
	}
	user, err := strconv.ParseUint(f[11], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("/proc/PID/stat: %w", err)
	}
	system, err := strconv.ParseUint(f[12], 10, 64)
	return float64(user+system) / userHZ, err
}

// machineSeconds reads the first line of /proc/stat, proc(5): user nice system idle
// iowait irq softirq steal, then guests, which user counts already.
func machineSeconds(stat string) (busy, stolen float64, err error) {
	line, _, _ := strings.Cut(stat, "\n")
	f := strings.Fields(line)
	if len(f) < 9 || f[0] != "cpu" {
		return 0, 0, fmt.Errorf("/proc/stat: %q", line)
	}
	for i, s := range f[1:9] {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("/proc/stat: %w", err)
		}
		switch i {
		case 3, 4: // idle
		case 7:
			stolen = float64(n) / userHZ
		default:
			busy += float64(n) / userHZ
		}
	}
	return busy, stolen, nil
}

// since is what was used after old was read: CPUs of the process and of the machine, and
// the CPUs that the host took away.
func (u usage) since(old usage) (process, machine, stolen float64) {
	s := u.at.Sub(old.at).Seconds()
	return (u.process - old.process) / s, (u.machine - old.machine) / s, (u.stolen - old.stolen) / s
}

// readDirNames lists the numbers that name a directory's entries.
func readDirNames(dir string) (ids []int, err error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if id, err := strconv.Atoi(e.Name()); err == nil {
			ids = append(ids, id)
		}
	}
	return ids, err
}
