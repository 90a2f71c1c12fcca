module dtj.dev/cluster/pause

go 1.26
