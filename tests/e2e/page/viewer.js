document.getElementById("heapline-app").textContent="placeholder";
