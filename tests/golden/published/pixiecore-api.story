Pixiecore's API: the examples of its pages, of both versions. Their https://files.local is the API's own server here, and {{ URL }} is of
the second version. A file's path, prefix or not, is below the API's host.

== says /base/v1/boot/52:54:00:77:00:02
200
{
  "kernel": "http://10.77.0.2/amd64-usr/current/coreos_production_pxe.vmlinuz",
  "initrd": ["http://10.77.0.2/amd64-usr/current/coreos_production_pxe_image.cpio.gz"]
}
== says /base/v1/boot/52:54:00:77:00:03
200
{
  "kernel": "/kernel",
  "initrd": ["/initrd.0", "/initrd.1"]
}
== says /base/v1/boot/52:54:00:77:00:04
200
{
  "kernel": "http://10.77.0.2/kernel",
  "initrd": ["http://10.77.0.2/initrd"],
  "cmdline": {
    "selinux": "1",
    "coreos.autologin": true
  }
}
== says /base/v1/boot/52:54:00:77:00:05
200
{
  "kernel": "http://10.77.0.2/kernel",
  "initrd": ["http://10.77.0.2/initrd"],
  "cmdline": {
    "cloud-config-url": {
      "url": "http://10.77.0.2/cloud-config"
    },
    "non-proxied-url": "http://10.77.0.2/something-else"
  }
}
== says /base/v1/boot/52:54:00:77:00:06
200
{
  "kernel": "http://10.77.0.2/kernel",
  "initrd": ["http://10.77.0.2/initrd"],
  "cmdline": "cloud-config-url={{ URL \"http://10.77.0.2/cloud-config\" }} non-proxied-url=http://10.77.0.2/something-else",
  "message": "Hello from testing world!"
}
== says /base/v1/boot/52:54:00:77:00:07
200
{"kernel": "/kernel", "cmdline": {"c": "", "a": "b", "off": false, "quoted": "x \"y\" \\"}}
== says /base/v1/boot/52:54:00:77:00:08
200
{"kernel": "file:///FOLDER/files/kernel", "initrd": ["initrd?name=a%20b&x=/1"]}
== says /base/v1/boot/52:54:00:77:00:09
200
{"kernel": 7, "ipxe-script": "#!ipxe\nshell\n"}
== says /base/v1/boot/52:54:00:77:00:0a
200
{}
== says /base/v1/boot/52:54:00:77:00:0b
200
{"kernel": "/kernel", "cmdline": {"a": 1}}
== says /base/v1/boot/52:54:00:77:00:0c
200
{"kernel": "/kernel", "cmdline": "a\nb"}
== says /base/v1/boot/52:54:00:77:00:0d
200
{"kernel": "file:///etc/passwd"}
== says /base/v1/boot/52:54:00:77:00:0e
200
{"kernel":"/kernel","initrd":["/initrd"],"cmdline":{"":true,"cloud-config-url":{"url":"/cloud-config"}}}
== file files/kernel
a kernel of this host
== GET /_/ipxe?mac=52:54:00:77:00:02&arch=0
200 text/plain; charset=utf-8
#!ipxe
kernel --name kernel http://10.77.0.1:8080/_/file?name=</amd64-usr/current/coreos_production_pxe.vmlinuz>&type=kernel&mac=52%3A54%3A00%3A77%3A00%3A02
initrd --name initrd0 http://10.77.0.1:8080/_/file?name=</amd64-usr/current/coreos_production_pxe_image.cpio.gz>&type=initrd&mac=52%3A54%3A00%3A77%3A00%3A02
imgfetch --name ready http://10.77.0.1:8080/_/booting?mac=52%3A54%3A00%3A77%3A00%3A02 ||
imgfree ready ||
boot kernel initrd=initrd0 
== asked
/base/v1/boot/52:54:00:77:00:02?arch=i386
/amd64-usr/current/coreos_production_pxe.vmlinuz
/amd64-usr/current/coreos_production_pxe_image.cpio.gz
=== An API that answers only the first question boots its machine all the same: for one boot there is no second one.
== says /base/v1/boot/52:54:00:77:00:02
404
no
== GET /_/ipxe?mac=52:54:00:77:00:02&arch=0
200 text/plain; charset=utf-8
#!ipxe
kernel --name kernel http://10.77.0.1:8080/_/file?name=</amd64-usr/current/coreos_production_pxe.vmlinuz>&type=kernel&mac=52%3A54%3A00%3A77%3A00%3A02
initrd --name initrd0 http://10.77.0.1:8080/_/file?name=</amd64-usr/current/coreos_production_pxe_image.cpio.gz>&type=initrd&mac=52%3A54%3A00%3A77%3A00%3A02
imgfetch --name ready http://10.77.0.1:8080/_/booting?mac=52%3A54%3A00%3A77%3A00%3A02 ||
imgfree ready ||
boot kernel initrd=initrd0 
== asked
== GET /_/ipxe?mac=52:54:00:77:00:03&arch=1
200 text/plain; charset=utf-8
#!ipxe
kernel --name kernel http://10.77.0.1:8080/_/file?name=</kernel>&type=kernel&mac=52%3A54%3A00%3A77%3A00%3A03
initrd --name initrd0 http://10.77.0.1:8080/_/file?name=</initrd.0>&type=initrd&mac=52%3A54%3A00%3A77%3A00%3A03
initrd --name initrd1 http://10.77.0.1:8080/_/file?name=</initrd.1>&type=initrd&mac=52%3A54%3A00%3A77%3A00%3A03
imgfetch --name ready http://10.77.0.1:8080/_/booting?mac=52%3A54%3A00%3A77%3A00%3A03 ||
imgfree ready ||
boot kernel initrd=initrd0 initrd=initrd1 
== GET /_/ipxe?mac=52:54:00:77:00:04&arch=1
200 text/plain; charset=utf-8
#!ipxe
kernel --name kernel http://10.77.0.1:8080/_/file?name=</kernel>&type=kernel&mac=52%3A54%3A00%3A77%3A00%3A04
initrd --name initrd0 http://10.77.0.1:8080/_/file?name=</initrd>&type=initrd&mac=52%3A54%3A00%3A77%3A00%3A04
imgfetch --name ready http://10.77.0.1:8080/_/booting?mac=52%3A54%3A00%3A77%3A00%3A04 ||
imgfree ready ||
boot kernel initrd=initrd0 coreos.autologin selinux="1"
== GET /_/ipxe?mac=52:54:00:77:00:05&arch=1
200 text/plain; charset=utf-8
#!ipxe
kernel --name kernel http://10.77.0.1:8080/_/file?name=</kernel>&type=kernel&mac=52%3A54%3A00%3A77%3A00%3A05
initrd --name initrd0 http://10.77.0.1:8080/_/file?name=</initrd>&type=initrd&mac=52%3A54%3A00%3A77%3A00%3A05
imgfetch --name ready http://10.77.0.1:8080/_/booting?mac=52%3A54%3A00%3A77%3A00%3A05 ||
imgfree ready ||
boot kernel initrd=initrd0 cloud-config-url=http://10.77.0.1:8080/_/file?name=</cloud-config> non-proxied-url="http://10.77.0.2/something-else"
== GET /_/ipxe?mac=52:54:00:77:00:06&arch=1
200 text/plain; charset=utf-8
#!ipxe
echo Hello from testing world!
kernel --name kernel http://10.77.0.1:8080/_/file?name=</kernel>&type=kernel&mac=52%3A54%3A00%3A77%3A00%3A06
initrd --name initrd0 http://10.77.0.1:8080/_/file?name=</initrd>&type=initrd&mac=52%3A54%3A00%3A77%3A00%3A06
imgfetch --name ready http://10.77.0.1:8080/_/booting?mac=52%3A54%3A00%3A77%3A00%3A06 ||
imgfree ready ||
boot kernel initrd=initrd0 cloud-config-url=http://10.77.0.1:8080/_/file?name=</cloud-config> non-proxied-url=http://10.77.0.2/something-else
== GET /_/ipxe?mac=52:54:00:77:00:07&arch=1
200 text/plain; charset=utf-8
#!ipxe
kernel --name kernel http://10.77.0.1:8080/_/file?name=</kernel>&type=kernel&mac=52%3A54%3A00%3A77%3A00%3A07
imgfetch --name ready http://10.77.0.1:8080/_/booting?mac=52%3A54%3A00%3A77%3A00%3A07 ||
imgfree ready ||
boot kernel a="b" c="" off quoted="x \"y\" \\"
== GET /_/ipxe?mac=52:54:00:77:00:08&arch=1
200 text/plain; charset=utf-8
#!ipxe
kernel --name kernel http://10.77.0.1:8080/_/file?name=<a kernel of this host
>&type=kernel&mac=52%3A54%3A00%3A77%3A00%3A08
initrd --name initrd0 http://10.77.0.1:8080/_/file?name=</initrd?name=a%20b&x=/1>&type=initrd&mac=52%3A54%3A00%3A77%3A00%3A08
imgfetch --name ready http://10.77.0.1:8080/_/booting?mac=52%3A54%3A00%3A77%3A00%3A08 ||
imgfree ready ||
boot kernel initrd=initrd0 
== GET /_/ipxe?mac=52:54:00:77:00:09&arch=1
200 text/plain; charset=utf-8
#!ipxe
shell
=== Pixiecore's own example of a server, without a command line.
== GET /_/ipxe?mac=52:54:00:77:00:0e&arch=1
200 text/plain; charset=utf-8
#!ipxe
kernel --name kernel http://10.77.0.1:8080/_/file?name=</kernel>&type=kernel&mac=52%3A54%3A00%3A77%3A00%3A0e
initrd --name initrd0 http://10.77.0.1:8080/_/file?name=</initrd>&type=initrd&mac=52%3A54%3A00%3A77%3A00%3A0e
imgfetch --name ready http://10.77.0.1:8080/_/booting?mac=52%3A54%3A00%3A77%3A00%3A0e ||
imgfree ready ||
boot kernel initrd=initrd0  cloud-config-url=http://10.77.0.1:8080/_/file?name=</cloud-config>
=== A machine that the API has nothing for, or nothing that is understood: Pixiecore has 404 and 500, with a word. The API was asked once.
== asked
/base/v1/boot/52:54:00:77:00:03?arch=x86_64
/kernel
/initrd.0
/initrd.1
/base/v1/boot/52:54:00:77:00:04?arch=x86_64
/initrd
/base/v1/boot/52:54:00:77:00:05?arch=x86_64
/cloud-config
/base/v1/boot/52:54:00:77:00:06?arch=x86_64
/base/v1/boot/52:54:00:77:00:07?arch=x86_64
/base/v1/boot/52:54:00:77:00:08?arch=x86_64
/initrd?name=a%20b&x=/1
/base/v1/boot/52:54:00:77:00:09?arch=x86_64
/base/v1/boot/52:54:00:77:00:0e?arch=x86_64
== GET /_/ipxe?mac=52:54:00:77:00:01&arch=1
404 application/json
{"error":"52:54:00:77:00:01: http://10.77.0.2/base/v1/boot/52:54:00:77:00:01?arch=x86_64: the API answered 404"}
\
== GET /_/ipxe?mac=52:54:00:77:00:0a&arch=1
502 application/json
{"error":"52:54:00:77:00:0a: http://10.77.0.2/base/v1/boot/52:54:00:77:00:0a?arch=x86_64: kernel: is missing: there is nothing to boot without it"}
\
== GET /_/ipxe?mac=52:54:00:77:00:0b&arch=1
502 application/json
{"error":"52:54:00:77:00:0b: http://10.77.0.2/base/v1/boot/52:54:00:77:00:0b?arch=x86_64: cmdline.a: is a number: it takes a string, true, or an object with a `url`"}
\
== GET /_/ipxe?mac=52:54:00:77:00:0c&arch=1
502 application/json
{"error":"52:54:00:77:00:0c: http://10.77.0.2/base/v1/boot/52:54:00:77:00:0c?arch=x86_64: cmdline: '\\n' in it: a command line is one line of text"}
\
== GET /_/ipxe?mac=52:54:00:77:00:0d&arch=1
502 application/json
{"error":"52:54:00:77:00:0d: http://10.77.0.2/base/v1/boot/52:54:00:77:00:0d?arch=x86_64: kernel: \"file:///etc/passwd\" is not in FOLDER/files, the folder of files that may be served"}
\
== GET /_/ipxe?mac=52-54-00-77-00-01&arch=0
404 application/json
{"error":"52:54:00:77:00:01: http://10.77.0.2/base/v1/boot/52:54:00:77:00:01?arch=x86_64: the API answered 404"}
\
== asked
/base/v1/boot/52:54:00:77:00:01?arch=x86_64
/base/v1/boot/52:54:00:77:00:0a?arch=x86_64
/base/v1/boot/52:54:00:77:00:0b?arch=x86_64
/base/v1/boot/52:54:00:77:00:0c?arch=x86_64
/base/v1/boot/52:54:00:77:00:0d?arch=x86_64
=== What is asked wrongly is 400. A name that we did not give is 403 (Pixiecore: 500), and one that is missing 400.
== GET /_/ipxe?arch=1
400 application/json
{"error":"mac is missing: /_/ipxe?mac=52:54:00:12:34:56&arch=1"}
\
== GET /_/ipxe?mac=52:54:00:77:00:02
400 application/json
{"error":"arch is missing: 0 (32-bit x86, BIOS), 1 (64-bit), or iPXE's name for it"}
\
== GET /_/ipxe?mac=52:54:00:77:00:02&arch=42
400 application/json
{"error":"arch=42 is not known: 0, 1, i386, x86_64, arm32 or arm64"}
\
== GET /_/ipxe?mac=nonsense&arch=1
400 application/json
{"error":"mac=nonsense: not a MAC address: it takes six pairs of hex digits, as in 52:54:00:12:34:56"}
\
== GET /_/file
400 application/json
{"error":"name is missing: it is in the script that names this file"}
\
== GET /_/file?name=http://10.77.0.2/kernel
403 application/json
{"error":"the file's name is none that this server, or another with its key, has made"}
\
== GET /_/booting?mac=52:54:00:77:00:02
200 text/plain
# Booting
\
== asked
