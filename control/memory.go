package control

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path"
	"strconv"
	"strings"
)

// takeMemory takes the memory of the connection table before connections need it, where that
// leaves as much again to everybody else: nobody shall be killed for what may never come.
func (d *Director) takeMemory(ctx context.Context) {
	conns := d.plane.Conns()
	var err error
	if size, left := conns.Size(), memoryLeft(os.DirFS("/")); size > left/2 {
		err = fmt.Errorf("connection table: %d MiB of %d that are left", size>>20, left>>20)
	} else {
		err = conns.Populate(ctx)
	}
	if err != nil {
		d.log.Warn("memory of connections is taken as they come", "err", err)
	}
}

// memoryLeft is how much memory this process may still take, in bytes: of the host's
// (MemAvailable in proc_meminfo(5)) and of what each control group allows that it is in
// (memory.max of version 2, memory.limit_in_bytes of version 1; cgroups(7)). root is the
// host's file system. What cannot be read bounds nothing.
func memoryLeft(root fs.FS) int64 {
	left := int64(math.MaxInt64)
	if kb, ok := field(read(root, "proc/meminfo"), "MemAvailable:"); ok {
		left = kb << 10
	}
	for line := range strings.Lines(string(read(root, "proc/self/cgroup"))) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		top, limit, usage := "sys/fs/cgroup", "memory.max", "memory.current"
		switch f[1] {
		case "":
		case "memory":
			top, limit, usage = "sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
		default:
			continue
		}
		for group := path.Clean("/" + f[2]); ; group = path.Dir(group) {
			most, ok := number(read(root, path.Join(top, group, limit)))
			used, known := number(read(root, path.Join(top, group, usage)))
			if ok && known {
				left = min(left, max(0, most-used))
			}
			if group == "/" {
				break
			}
		}
	}
	return left
}

func read(root fs.FS, name string) []byte {
	b, _ := fs.ReadFile(root, name)
	return b
}

func number(b []byte) (int64, bool) {
	n, err := strconv.ParseInt(string(bytes.TrimSpace(b)), 10, 64)
	return n, err == nil
}

// field is the number that stands behind a name.
func field(b []byte, name string) (int64, bool) {
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		if f := strings.Fields(s.Text()); len(f) > 1 && f[0] == name {
			return number([]byte(f[1]))
		}
	}
	return 0, false
}
