from harness_tasks.subsets.build import main

main()
