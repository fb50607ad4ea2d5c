#!/usr/bin/env python3
"""The example of the appliance's documentation, with what it leaves out filled in.

example.py PORT MODE ARGUMENT: MODE is console, import, inline, login or snapshot."""

import sys
import time

from pyVim import connect
from pyVmomi import vim


def start(content, vm, creds, path, arguments):
    spec = vim.vm.guest.ProcessManager.ProgramSpec(programPath=path, arguments=arguments)
    return content.guestOperationsManager.processManager.StartProgramInGuest(vm, creds, spec)


def run_inline(content, vm, creds, source):
    """Execute script source on vm"""
    if isinstance(source, list):
        source = '\n'.join(source)
    return start(content, vm, creds, 'console', source)


def run_from_file(content, vm, creds, file_name):
    """Execute script file located on CHR"""
    return start(content, vm, creds, 'import', file_name)


def find_datastore(content, name):
    view = content.viewManager.CreateContainerView(content.rootFolder, [vim.Datacenter], True)
    for datacenter in view.view:
        stores = content.viewManager.CreateContainerView(datacenter, [vim.Datastore], True)
        for datastore in stores.view:
            if datastore.name == name:
                return datacenter, datastore
    return None, None


def wait_for_job(content, vm, creds, job):
    manager = content.guestOperationsManager.processManager
    while True:
        info = manager.ListProcessesInGuest(vm, creds, [job])[0]
        if info.endTime is not None:
            return info
        time.sleep(0.1)


def wait_for_task(task):
    while True:
        info = task.info
        if info.state == 'success':
            return 'taken'
        if info.state == 'error':
            return type(info.error).__name__
        time.sleep(0.1)


def main():
    port, mode, argument = sys.argv[1:4]
    service = connect.SmartConnectNoSSL(
        host='127.0.0.1', port=int(port), user='root', pwd='MikroTik'
    )
    content = service.RetrieveContent()
    vm_name = 'chr-test'
    store_name = 'datastore1'
    datacenter, datastore = find_datastore(content, store_name)
    if not datacenter or not datastore:
        sys.exit(f"Could not find datastore '{store_name}'")
    path = '[{0}] {1}/{1}.vmx'.format(store_name, vm_name)
    vm = content.searchIndex.FindByDatastorePath(datacenter, path)
    if not vm:
        sys.exit('Could not locate vm')

    user, _, password = argument.partition(':') if mode == 'login' else ('admin', '', '')
    creds = vim.vm.guest.NamePasswordAuthentication(
        username=user, password=password, interactiveSession=False
    )
    if mode == 'snapshot':
        print(wait_for_task(vm.CreateSnapshot_Task('backup', '', False, argument == 'quiesced')))
        return
    if mode == 'uuid':
        print(content.searchIndex.FindByUuid(None, argument, True) == vm)
        return
    try:
        if mode == 'import':
            job = run_from_file(content, vm, creds, argument)
        elif mode == 'console':
            job = run_inline(content, vm, creds, [argument])
        else:
            job = start(content, vm, creds, 'inline' if mode in ('inline', 'login') else mode, argument)
    except vim.fault.VimFault as fault:
        print(type(fault).__name__)
        return
    except Exception as error:  # vmodl's own
        print(type(error).__name__)
        return
    info = wait_for_job(content, vm, creds, job)
    print(f'{info.name} {info.exitCode} {info.pid == job} {info.owner}')
    connect.Disconnect(service)


main()
