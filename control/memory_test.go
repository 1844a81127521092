package control

import (
	"math"
	"os"
	"testing"
	"testing/fstest"
)

func TestMemoryLeft(t *testing.T) {
	const meminfo = "MemTotal:  8000 kB\nMemFree: 100 kB\nMemAvailable:    4000 kB\n"
	for name, c := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"nothing known":  {nil, math.MaxInt64},
		"the host's":     {map[string]string{"proc/meminfo": meminfo}, 4000 << 10},
		"without a word": {map[string]string{"proc/meminfo": "MemAvailable: x kB\nMemAvailable\n"}, math.MaxInt64},
		"unlimited group": {map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/a\n",
			"sys/fs/cgroup/a/memory.max": "max\n", "sys/fs/cgroup/a/memory.current": "5\n"}, 4000 << 10},
		"group": {map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/a/b\n",
			"sys/fs/cgroup/a/b/memory.max": "3000\n", "sys/fs/cgroup/a/b/memory.current": "1000\n"}, 2000},
		"group above": {map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/a/b\n",
			"sys/fs/cgroup/a/memory.max": "3000\n", "sys/fs/cgroup/a/memory.current": "2500\n",
			"sys/fs/cgroup/a/b/memory.max": "3000\n", "sys/fs/cgroup/a/b/memory.current": "1000\n"}, 500},
		"used up": {map[string]string{"proc/self/cgroup": "0::/\n",
			"sys/fs/cgroup/memory.max": "10\n", "sys/fs/cgroup/memory.current": "12\n"}, 0},
		"version 1": {map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "9:name=systemd:/\n4:memory:/c\n",
			"sys/fs/cgroup/memory/c/memory.limit_in_bytes": "900\n", "sys/fs/cgroup/memory/c/memory.usage_in_bytes": "200\n"}, 700},
	} {
		files := fstest.MapFS{}
		for name, text := range c.files {
			files[name] = &fstest.MapFile{Data: []byte(text)}
		}
		if got := memoryLeft(files); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
	if here := memoryLeft(os.DirFS("/")); here <= 0 || here > 1<<50 {
		t.Errorf("of this host: %d", here)
	}
}
