#!/bin/sh
echo "NETBOOT-NODE: {{.etcd_name}} of {{.etcd_initial_cluster}}, os={{.os}}"
