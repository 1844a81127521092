package main

import (
	"testing"
	"time"
)

// proc(5): utime and stime are fields 14 and 15; the name may hold anything.
func TestProcessSeconds(t *testing.T) {
	got, err := processSeconds("4711 (a b) c) S 1 4711 4711 0 -1 4194304 100 0 0 0 250 125 0 0 20 0 9 0 1000 1000000 500\n")
	if got != 3.75 || err != nil {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", "1 (x) S 1 2", "1 (x) S 1 2 3 4 5 6 7 8 9 10 a b 0"} {
		if _, err := processSeconds(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// proc(5): user nice system idle iowait irq softirq steal guest guest_nice.
func TestMachineSeconds(t *testing.T) {
	busy, stolen, err := machineSeconds("cpu  100 10 200 9999 8888 30 60 500 7 7\ncpu0 1 1 1 1 1 1 1 1 1 1\n")
	if busy != 4 || stolen != 5 || err != nil {
		t.Errorf("busy %v, stolen %v, %v", busy, stolen, err)
	}
	for _, bad := range []string{"", "cpu 1 2 3", "intr 1 2 3 4 5 6 7 8 9", "cpu 1 2 3 4 5 6 7 x 9"} {
		if _, _, err := machineSeconds(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestUsageSince(t *testing.T) {
	start := time.Unix(0, 0)
	old := usage{at: start, process: 1, machine: 10, stolen: 2}
	p, m, s := usage{at: start.Add(2 * time.Second), process: 2, machine: 13, stolen: 2.5}.since(old)
	if p != 0.5 || m != 1.5 || s != 0.25 {
		t.Errorf("%v %v %v", p, m, s)
	}
}

func TestThisProcessAndMachine(t *testing.T) {
	u, err := readUsage(nil)
	if err != nil || u.machine <= 0 || u.process != 0 {
		t.Errorf("%+v, %v", u, err)
	}
}

func TestCPUInfo(t *testing.T) {
	model, virtual := cpuInfo("processor\t: 0\nmodel name\t: A Fast One @ 3 GHz\nflags\t\t: fpu hypervisor vme\n\nprocessor\t: 1\nmodel name\t: A Fast One @ 3 GHz\nflags\t\t: fpu vme hypervisor\n")
	if model != "A Fast One @ 3 GHz" || !virtual {
		t.Errorf("%q, %v", model, virtual)
	}
	if model, virtual := cpuInfo("BogoMIPS : 1\n"); model == "" || virtual {
		t.Errorf("without a name: %q, %v", model, virtual)
	}
}

func TestReceived(t *testing.T) {
	const table = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:       1       2    0    0    0     0          0         0       3       4    0    0    0     0       0          0
    s0: 6000000  100000    0    0    0     0          0         0      60       1    0    0    0     0       0          0
   s01:       5       6    0    0    0     0          0         0      60       1    0    0    0     0       0          0
`
	if n, err := received(table, "s0"); n != 100000 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := received(table, "s"); err == nil {
		t.Error("an interface that is not there")
	}
}
